"""GPUs, containers, disks, weights and data sets that are not as they should be."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from recipebox.doctor import container, facts, gpu, places
from recipebox.doctor.findings import NOTE, OK, PROBLEM, UNKNOWN, WARNING, Finding, call, examine, table

if TYPE_CHECKING:
    from doctor.conftest import FakeCommand  # type: ignore[import-not-found]

H100 = "NVIDIA H100 80GB HBM3, 580.95.05, 81559"


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No driver's file, no board, no card, whatever this test runs on."""
    monkeypatch.setattr(gpu, "read", lambda path, most=0: "")
    monkeypatch.setattr(gpu, "_card_without_driver", lambda: False)
    monkeypatch.setattr(container, "_in_one", lambda: False)
    monkeypatch.setattr(container, "_has_cdi", lambda: False)


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        (f"echo '{H100}'", OK, "79.6 GB, driver 580.95.05, which came with CUDA 13.0"),
        (f"echo '{H100}'; echo 'Orin (nvgpu), 540.4.0, [N/A]'", OK, "NVIDIA H100"),
        ("echo 'Tesla K80, 470.57.02, 11441'", WARNING, "too old"),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", PROBLEM, "still loaded"),
        ("echo 'NVIDIA-SMI has failed because it couldn'\"'\"'t communicate with the NVIDIA driver.'; exit 9", PROBLEM,
         "kernel module"),
        ("echo 'No devices were found'; exit 6", PROBLEM, "no GPU it can use"),
        ("exit 42", PROBLEM, "exit code 42"),
        ("kill -SEGV $$", PROBLEM, "SIGSEGV"),
        ("head -c 3000 /dev/urandom", UNKNOWN, "not understood"),
        ("printf 'a,b,c\\n,,,\\n\\0\\033[2J'", UNKNOWN, "not understood"),
        ("", UNKNOWN, "no output"),
        ("sleep 60", PROBLEM, "did not answer within"),
        ("sleep 60 & sleep 60", PROBLEM, "did not answer within"),
        ("yes", PROBLEM, "did not stop writing"),
    ],
)  # fmt: skip
def test_nvidia_smi(
    fake: FakeCommand, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, script: str, status: str, words: str
) -> None:
    monkeypatch.setattr(gpu, "SMI_LIMIT_S", 1.0)
    fake("nvidia-smi", script)
    found = gpu.check_gpu(asked)[0]
    assert found.status == status
    assert words in f"{found.found} {found.why}"
    assert found.found.isprintable()


def test_no_gpu_at_all(fake: FakeCommand, asked: dict[str, Any]) -> None:
    assert gpu.check_gpu(asked)[0].status == NOTE


def test_a_card_without_a_driver(fake: FakeCommand, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_card_without_driver", lambda: True)
    found = gpu.check_gpu(asked)[0]
    assert found.status == WARNING
    assert "nvidia-driver" in found.mend


def test_a_program_of_another_machine(fake: FakeCommand, asked: dict[str, Any]) -> None:
    fake("nvidia-smi", "").write_bytes(b"\x7fELF\x02garbage")
    assert "cannot be started" in gpu.check_gpu(asked)[0].found


@pytest.mark.parametrize(
    ("release", "jetpack"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic", "JetPack 6.2 (CUDA 12.6, TensorRT 10.3)"),
        ("# R36 (release), REVISION: 4.0", "JetPack 6.1"),
        ("# R99 (release), REVISION: 1.0", "not known here"),
        ("rubbish", "rubbish"),
    ],
)
def test_a_jetson(
    asked: dict[str, Any], fake: FakeCommand, monkeypatch: pytest.MonkeyPatch, release: str, jetpack: str
) -> None:
    files = {"/etc/nv_tegra_release": release, "/proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit"}
    monkeypatch.setattr(gpu, "read", lambda path, most=0: files.get(path, ""))
    fake("nvpmodel", "echo 'NV Power Mode: MAXN'; echo 0")
    found = gpu.check_jetson(asked)
    assert jetpack in f"{found[0].found} {found[0].why}"
    assert found[-1].found in ("MAXN", found[0].found)
    assert gpu.check_gpu(asked)[0].found == "the Jetson's own"


DENIED = "permission denied while trying to connect to the docker API at unix:///var/run/docker.sock"


@pytest.mark.parametrize(
    ("script", "status", "words"),
    [
        ("echo 28.5.1", OK, "docker 28.5.1"),
        (f"echo '{DENIED}'; exit 1", WARNING, "usermod"),
        ("echo 'Cannot connect to the Docker daemon. Is the docker daemon running?'; exit 1", WARNING, "start docker"),
        ("sleep 60", WARNING, "did not answer"),
        ("echo surprise; exit 3", UNKNOWN, "surprise"),
    ],
)
def test_docker(
    fake: FakeCommand, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, script: str, status: str, words: str
) -> None:
    monkeypatch.setattr(container, "ENGINE_LIMIT_S", 1.0)
    fake("docker", script)
    found = container.check_container(asked)[0]
    assert found.status == status
    assert words in f"{found.found} {found.mend}"


def test_docker_that_cannot_hand_the_gpu_in(fake: FakeCommand, asked: dict[str, Any]) -> None:
    fake("nvidia-smi", f"echo '{H100}'")
    fake("docker", 'case "$1" in version) echo 28.5.1;; *) echo \'{"runc":{}}\';; esac')
    assert [one.status for one in container.check_container(asked)] == [OK, WARNING]
    fake("nvidia-ctk", "true")
    toolkit = container.check_container(asked)[1]
    assert toolkit.status == WARNING
    assert "nvidia-ctk runtime configure" in toolkit.mend
    assert "apt" not in toolkit.mend


def test_a_driver_too_old_for_the_devbox(
    fake: FakeCommand, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(container, "driver_version", lambda: "570.86.15")
    fake("docker", 'case "$1" in version) echo 28.5.1;; *) echo \'{"nvidia":{}}\';; esac')
    fake("nvidia-ctk", "true")
    found = container.check_container(asked)
    assert [one.status for one in found] == [OK, WARNING, OK]
    assert facts.DEVBOX["driver"] in found[1].why
    assert f"CUDA {facts.DEVBOX['CUDA']}" in found[1].why


def sized(total: int, free: int, inodes: int = 1000) -> os.statvfs_result:
    return os.statvfs_result((4096, 4096, total // 4096, free // 4096, free // 4096, 1000, inodes, inodes, 0, 255))


@pytest.mark.parametrize(
    ("total", "free", "status"),
    [
        (64 << 20, 64 << 20, PROBLEM),
        (512 << 20, 512 << 20, WARNING),
        (8 << 30, 1 << 20, WARNING),
        (8 << 30, 8 << 30, OK),
    ],
)
def test_shared_memory(
    asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, total: int, free: int, status: str
) -> None:
    monkeypatch.setattr(places.os, "statvfs", lambda place: sized(total, free))
    found = places.check_shared_memory(asked)[0]
    assert found.status == status
    assert (found.mend != "") == (status != OK)


@pytest.mark.parametrize(
    ("free", "inodes", "status"), [(0, 9, PROBLEM), (1 << 30, 9, WARNING), (1 << 40, 0, PROBLEM), (1 << 40, 9, OK)]
)
def test_disk(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch, free: int, inodes: int, status: str) -> None:
    monkeypatch.setattr(places.os, "statvfs", lambda place: sized(1 << 40, free, inodes))
    assert {one.status for one in places.check_disk(asked)} == {status}


def test_a_place_that_may_not_be_written(asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places.os, "access", lambda path, mode: False)
    found = places.check_disk(asked)
    assert any("RECIPEBOX_RUNS" in one.mend for one in found if one.status == PROBLEM)


def weights(asked: dict[str, Any], root: Path, **known: str) -> list[Finding]:
    look = {"roots": [str(root)], "given": str(root), "known": {f"{name}.pt": sha for name, sha in known.items()}}
    return places.check_weights(asked | {"weights": look})


def test_weights_and_their_hashes(asked: dict[str, Any], tmp_path: Path) -> None:
    for name in ("good", "spoiled", "own"):
        (tmp_path / f"{name}.pt").write_bytes(name.encode())
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "gone.pt").symlink_to("nowhere")
    (tmp_path / "loop.pt").symlink_to("loop.pt")
    os.mkfifo(tmp_path / "pipe.pt")
    right = hashlib.sha256(b"good").hexdigest()
    found = {
        one.found.rpartition("/")[2].split(".")[0]: one for one in weights(asked, tmp_path, good=right, spoiled=right)
    }
    statuses = {name: one.status for name, one in found.items()}
    assert statuses == {"good": OK, "spoiled": PROBLEM, "own": NOTE, "folder": WARNING, "gone": PROBLEM,
                        "loop": PROBLEM, "pipe": WARNING}  # fmt: skip
    assert str(tmp_path / "spoiled.pt") in found["spoiled"].mend


def test_no_weights(asked: dict[str, Any], tmp_path: Path) -> None:
    assert weights(asked, tmp_path)[0].status == NOTE
    assert weights(asked, tmp_path / "nowhere")[0].status == PROBLEM


def test_data_sets(asked: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "line\n3").mkdir()
    (tmp_path / "line\n3" / "data.yaml").touch()
    (tmp_path / "coco8.tar").touch()
    look = {"roots": [str(tmp_path)], "given": str(tmp_path), "names": ["coco8", "deeppcb"], "suffixes": [".tar"]}
    found = places.check_data(asked | {"data": look})
    assert [one.status for one in found] == [PROBLEM, NOTE, OK]
    assert all(one.found.isprintable() for one in found)
    look["given"] = str(tmp_path / "nowhere")
    look["roots"] = [look["given"]]
    assert places.check_data(asked | {"data": look})[0].status == PROBLEM


def test_no_check_stops_another(asked: dict[str, Any]) -> None:
    def hangs(request: dict[str, Any]) -> list[Finding]:
        time.sleep(30)
        return []

    def raises(request: dict[str, Any]) -> list[Finding]:
        raise SystemExit(3)

    def works(request: dict[str, Any]) -> list[Finding]:
        return [Finding("fine", OK, "yes")]

    began = time.monotonic()
    found = examine({"a": (hangs, 0.3), "b": (raises, 5.0), "c": (works, 5.0)}, asked)
    assert time.monotonic() - began < 3
    assert [one.status for one in found] == [UNKNOWN, UNKNOWN, OK]
    assert "2 unanswered checks (a, b)" in table(found)


def test_a_command_that_hangs_takes_its_children_along(tmp_path: Path) -> None:
    mark = tmp_path / "child"
    said = call(["/bin/sh", "-c", f"(sleep 2; touch {mark}) & sleep 60"], 0.5)
    assert said.code is None
    time.sleep(2.2)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("version", "expected"),
    [("2.14.1+cu130", (2, 14, 1)), ("2.10.0a0", (2, 10, 0)), ("", ()), ("x", ()), ("1.2rc1", (1, 2)), ("٣.1", ())],
)
def test_the_numbers_of_a_version(version: str, expected: tuple[int, ...]) -> None:
    assert facts.numbers(version) == expected
