"""What can be held of the devbox without an engine: its files, its lint, its one table of versions, its scripts."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from recipebox.doctor import facts

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILES = ("Dockerfile", "Dockerfile.jetson")


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def argument(dockerfile: str, name: str) -> str:
    found = re.search(rf"^ARG {name}=(\S+)$", text(f"docker/{dockerfile}"), re.M)
    assert found is not None
    return found.group(1)


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing(name: str) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, ROOT / "docker" / name], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_one_table_says_what_goes_together() -> None:
    """facts.DEVBOX, the page, the Dockerfile and the lock say the same."""
    table = text("docs/devbox.md").split("<!-- versions:begin -->")[1].split("<!-- versions:end -->")[0]
    assert dict(re.findall(r"^\| ([^|]+?) \| ([^|]+?) \|$", table, re.M)[1:]) == facts.DEVBOX
    assert argument("Dockerfile", "BASE_IMAGE").partition("@")[0] == facts.DEVBOX["base image"]
    assert argument("Dockerfile", "TENSORRT") == facts.DEVBOX["TensorRT"]
    lock = text("docker/image.lock")
    for name in ("torch", "torchvision", "ultralytics", "onnx", "onnxruntime-gpu", "fabric"):
        assert re.search(rf"^{name}=={re.escape(facts.DEVBOX[name])}[ \\]", lock, re.M), name


def test_the_table_fits_itself() -> None:
    cuda = facts.DEVBOX["CUDA"]
    assert f"/cuda:{cuda}." in facts.DEVBOX["base image"]
    assert facts.DEVBOX["TensorRT"].endswith(f"+cuda{cuda}")
    major = facts.numbers(cuda)[0]
    assert facts.DEVBOX["driver"] == facts.DRIVER_OF_CUDA_MAJOR[major]
    majors = next(
        m for low, m in facts.CUDA_OF_TENSORRT if facts.numbers(facts.DEVBOX["TensorRT"]) >= facts.numbers(low)
    )
    assert major in majors
    partner = facts.TORCHVISION_OF_TORCH[facts.release(facts.DEVBOX["torch"])]
    assert facts.release(facts.DEVBOX["torchvision"]) == partner


def test_torch_of_the_lock_has_the_cuda_of_the_base() -> None:
    torch = pytest.importorskip("torch")
    if torch.__version__.split("+")[0] != facts.DEVBOX["torch"]:
        pytest.skip(f"here is torch {torch.__version__}")
    assert torch.version.cuda == facts.DEVBOX["CUDA"]


def test_the_jetson_file_is_of_the_jetpack_it_names() -> None:
    assert argument("Dockerfile.jetson", "BASE_IMAGE") == facts.DEVBOX_JETSON["base image"]
    assert facts.DEVBOX_JETSON["base image"].endswith(f":r{facts.DEVBOX_JETSON['L4T']}")
    jetpack = facts.jetpack_of_l4t(facts.DEVBOX_JETSON["L4T"])
    cuda, tensorrt = facts.CUDA_AND_TENSORRT_OF_JETPACK[str(jetpack)]
    assert f"JetPack {jetpack} (CUDA {cuda}, TensorRT {tensorrt})" in text("docker/Dockerfile.jetson")


def test_the_jetson_file_builds_what_the_gate_measured() -> None:
    """Precision lives in the graph: a builder's flag would let it choose others."""
    lines = text("docker/Dockerfile.jetson").splitlines()
    commands = [line.split("--onnx=")[1] for line in lines if "--onnx=" in line]
    assert commands and all("-fp16.onnx --stronglyTyped --noTF32" in one for one in commands)
    assert not [line for line in lines if "--fp16" in line or "--int8" in line]


def test_compose_publishes_on_loopback_only() -> None:
    services = yaml.safe_load(text("docker/compose.yaml"))["services"]
    assert set(services) == {"devbox", "devbox-gpu"}
    for service in services.values():
        assert service["ports"] == ["127.0.0.1:${RECIPEBOX_SSH_PORT:-2222}:2222"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert "network_mode" not in service and "privileged" not in service


def test_the_devcontainer_uses_the_same_service() -> None:
    lines = [line for line in text(".devcontainer/devcontainer.json").splitlines() if not line.startswith("//")]
    document = json.loads("\n".join(lines))
    compose = (ROOT / ".devcontainer" / document["dockerComposeFile"]).resolve()
    assert document["service"] in yaml.safe_load(compose.read_text())["services"]


def test_no_secret_can_reach_an_image() -> None:
    """What the build may see is named; keys, data and runs are not."""
    lines = [line for line in text(".dockerignore").splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert allowed == {"LICENSE", "Makefile", "README.md", "pyproject.toml", "docker", "recipes", "scripts", "src"}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with what make needs, and an engine that notes how it is called."""
    for name in ("Makefile", "pyproject.toml", "docker", "scripts"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    return tmp_path


def engine(folder: Path, script: str) -> None:
    program = folder / "bin" / "docker"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nprintf "%s|" "$@" >>"{folder}/calls"; echo >>"{folder}/calls"\n{script}\n')
    program.chmod(0o755)


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = f"{folder}/bin:/usr/bin:/bin"
    return subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=folder, env={"PATH": path, **environment},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def ready(folder: Path) -> None:
    program = folder / ".venv" / "bin" / "recipebox"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    (folder / ".venv" / ".ready").touch()


UP = 'case "$1" in ps) echo abc;; esac'


def test_train_goes_inside_where_there_is_an_image(checkout: Path) -> None:
    ready(checkout)
    engine(checkout, UP)
    (checkout / ".devbox").mkdir()
    (checkout / ".devbox" / "ssh_config").touch()
    value = "$(touch harm);`touch harm`"
    done = make(checkout, "train", f"RECIPE={value}", "PROFILE=smoke")
    assert done.stdout.splitlines() == ["devbox", "run", "train", "--profile", "smoke", "--", value]
    assert make(checkout, "train", "IN=local").stdout.splitlines() == ["train", "--", "pcb-distill"]
    hosted = make(checkout, "train", f"HOST={value}").stdout.splitlines()
    assert hosted == ["devbox", "run", "--host", value, "train", "--", "pcb-distill"]
    assert make(checkout, "train", HOST="exported-by-csh").stdout.splitlines()[:3] == ["devbox", "run", "train"]
    assert make(checkout, "attach").stdout.splitlines() == ["devbox", "attach"]
    assert not (checkout / "harm").exists()


def test_train_stays_here_without_an_image(checkout: Path) -> None:
    ready(checkout)
    engine(checkout, 'case "$1" in image) exit 1;; esac')
    assert make(checkout, "train").stdout.splitlines() == ["train", "--", "pcb-distill"]


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('case "$1" in version | image) exit 1;; esac', "its daemon does not answer you"),
        ('case "$1" in image) exit 1;; esac', "no image recipebox-devbox here yet: make image"),
    ],
)
def test_up_says_what_is_missing(checkout: Path, script: str, words: str) -> None:
    engine(checkout, script)
    done = make(checkout, "up")
    assert done.returncode == 2
    assert words in done.stderr


KEYGEN = """\
while [ "$1" != --volume ]; do [ "$1" = --user ] && user="$2"; shift; done
[ "${user%%:*}" = 0 ] || { echo "No user exists for uid ${user%%:*}" >&2; exit 255; }
rm -f "${2%%:*}/id_ed25519"
ssh_keygen -q -t ed25519 -N "" -f "${2%%:*}/id_ed25519" </dev/null"""
"""`docker run` of ssh-keygen in the image, which knows root and uid 1000 and nobody else."""


@pytest.mark.parametrize("left", [(), ("id_ed25519",), ("id_ed25519.pub",)])
def test_up_makes_keys_without_ssh_here(checkout: Path, left: tuple[str, ...]) -> None:
    """Whoever calls, for himself or as root for somebody; half a pair is none."""
    engine(checkout, f'case "$1" in ps) echo abc;; exec) echo ssh-ed25519 AAAA;; run) {KEYGEN};; esac')
    tools = checkout / "bin"
    for name in ("make", "bash", "sh", "sed", "cut", "id", "head", "cat", "cksum", "mkdir", "seq", "sleep", "touch",
                 "rm", "grep", "chown", "timeout", "dirname", "sort", "printf", "expand"):  # fmt: skip
        (tools / name).symlink_to(shutil.which(name) or pytest.fail(f"no {name}"))
    (tools / "ssh_keygen").symlink_to(shutil.which("ssh-keygen") or pytest.skip("no ssh-keygen"))
    state = checkout / ".devbox"
    state.mkdir(mode=0o700)
    for name in left:
        (state / name).write_text("old\n")
    owner = 1001 if os.geteuid() == 0 else os.geteuid()
    given = {"RECIPEBOX_UID": str(owner), "RECIPEBOX_GID": str(owner)}
    done = subprocess.run(
        ["make", "--no-print-directory", "up"], cwd=checkout, env={"PATH": str(tools), **given},
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "PRIVATE KEY" in (state / "id_ed25519").read_text()
    assert (state / "id_ed25519.pub").read_text() in (state / "authorized_keys").read_text()
    assert {path.stat().st_uid for path in (state, *state.iterdir())} == {owner}
    # As arguments: no shell reads a value.
    assert f"|sh|{owner}|{owner}|\n" in (checkout / "calls").read_text()


def test_up_keeps_the_port_it_has(checkout: Path) -> None:
    """The port is the one that the engine published when the devbox was started."""
    engine(checkout, 'case "$1" in ps) echo abc;; port) echo 127.0.0.1:2300;; exec) echo ssh-ed25519 AAAA;; esac')
    owner = str(os.geteuid() or 1001)
    done = make(checkout, "up", RECIPEBOX_UID=owner, RECIPEBOX_GID=owner)
    assert done.returncode == 0, done.stderr
    assert "    Port 2300\n" in (checkout / ".devbox" / "ssh_config").read_text()
    assert "[127.0.0.1]:2300 ssh-ed25519 AAAA\n" in (checkout / ".devbox" / "known_hosts").read_text()


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ('case "$1" in ps) echo abc;; exec) exit 1;; esac', "the devbox does not come up"),
        ("", "the devbox does not come up"),  # it was started, and runs no longer
        ('case "$*" in *" up "*) exit 1;; esac', "did not start"),
    ],
)
def test_up_says_what_became_of_it(checkout: Path, script: str, words: str) -> None:
    engine(checkout, script)
    owner = str(os.geteuid() or 1001)
    done = make(checkout, "up", RECIPEBOX_UID=owner, RECIPEBOX_GID=owner)
    assert done.returncode == 2 and words in done.stderr
    assert not (checkout / ".devbox" / "known_hosts").exists()


def test_up_knows_two_profiles(checkout: Path) -> None:
    engine(checkout, "")
    owner = str(os.geteuid() or 1001)
    done = make(checkout, "up", RECIPEBOX_UID=owner, RECIPEBOX_GID=owner, RECIPEBOX_DEVBOX_PROFILE="tpu")
    assert done.returncode == 2 and "cpu or gpu" in done.stderr
    assert "compose" not in (checkout / "calls").read_text()


def test_up_refuses_root_at_once(checkout: Path) -> None:
    engine(checkout, UP)
    done = make(checkout, "up", RECIPEBOX_UID="0", RECIPEBOX_GID="0")
    assert done.returncode == 2 and "nobody works as root" in done.stderr
    assert not (checkout / ".devbox").exists()


def test_image_lock_writes_the_digest_of_the_tag(checkout: Path) -> None:
    digest = "sha256:" + "ab" * 32
    engine(checkout, f'case "$1 $2" in "image inspect") echo some/where@{digest};; esac')
    for _ in range(2):  # a second time it is the tag that is asked, not the digest
        done = make(checkout, "image-lock")
        assert done.returncode == 0, done.stderr
    assert f"ARG BASE_IMAGE={facts.DEVBOX['base image']}@{digest}\n" in (checkout / "docker/Dockerfile").read_text()
    assert f"pull|{facts.DEVBOX['base image']}|" in (checkout / "calls").read_text()


def test_image_lock_refuses_what_is_no_digest(checkout: Path) -> None:
    engine(checkout, 'case "$1 $2" in "image inspect") echo "x|; touch harm";; esac')
    assert make(checkout, "image-lock").returncode == 2
    assert (checkout / "docker/Dockerfile").read_text() == text("docker/Dockerfile")


def test_scripts_are_executable() -> None:
    for name in ("start", "health", "jupyter-start"):
        path = ROOT / "docker" / "devbox" / name
        assert os.access(path, os.X_OK)
        subprocess.run(["bash", "-n", path], check=True, timeout=20)
