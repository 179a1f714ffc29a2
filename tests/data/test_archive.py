"""Nothing an archive says can write outside its folder, fill the disk, or pass for whole when it is cut."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from recipebox.data import archive
from recipebox.data.archive import unpack
from recipebox.errors import DataError


def _tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as packed:  # type: ignore[call-overload]
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            packed.addfile(entry, io.BytesIO(content))
    return path


def _everything(tmp_path: Path) -> list[str]:
    return sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())


def test_plain_members_arrive_with_their_bytes(tmp_path: Path):
    members = {"set/a.txt": b"one", "./set/b/c.txt": b"two"}
    for name, mode in (("x.tar", "w"), ("x.tar.gz", "w:gz"), ("x.tgz", "w:xz")):
        target = tmp_path / mode.replace(":", "")
        target.mkdir()
        assert unpack(_tar(tmp_path / name, members, mode), target, lambda path: path) == 2
        assert (target / "set/a.txt").read_bytes() == b"one" and (target / "set/b/c.txt").read_bytes() == b"two"


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_member_that_would_leave_the_folder_is_refused(tmp_path: Path, name: str, kind: str):
    path = tmp_path / f"bad.{kind}"
    if kind == "tar":
        _tar(path, {name: b"evil"})
    else:
        with zipfile.ZipFile(path, "w") as packed:
            packed.writestr(name, b"evil")
    target = tmp_path / "deep/inside"
    target.mkdir(parents=True)
    with pytest.raises(DataError, match="outside the data folder"):
        unpack(path, target, lambda member: member)
    assert _everything(tmp_path) == [path.name]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes):
    with tarfile.open(tmp_path / "bad.tar", "w") as packed:
        entry = tarfile.TarInfo("labels")
        entry.type, entry.linkname = kind, "/etc/passwd"
        packed.addfile(entry)
    with pytest.raises(DataError, match="'labels' is a link or a device"):
        unpack(tmp_path / "bad.tar", tmp_path / "out", lambda member: member)


def test_a_link_in_a_zip_is_refused(tmp_path: Path):
    entry = zipfile.ZipInfo("labels")
    entry.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as packed:
        packed.writestr(entry, "/etc/passwd")
    with pytest.raises(DataError, match="link"):
        unpack(tmp_path / "bad.zip", tmp_path / "out", lambda member: member)


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_a_bomb_stops_at_the_limit(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archive, "MAX_BYTES", 3 << 20)
    path, zeros = tmp_path / f"bomb.{kind}", bytes(16 << 20)
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            packed.writestr("zeros", zeros)
    else:
        _tar(path, {"zeros": zeros}, "w:gz")
    assert path.stat().st_size < 1 << 20
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(DataError, match="GiB when unpacked"):
        unpack(path, target, lambda member: member)
    assert (target / "zeros").stat().st_size <= 3 << 20


@pytest.mark.parametrize("kind", ["tar", "tar.gz", "zip"])
@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_cut_archive_is_damaged_not_small(tmp_path: Path, kind: str, kept: float):
    path = tmp_path / f"cut.{kind}"
    members = {f"{index}.bin": bytes(range(256)) * 40 for index in range(4)}
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as packed:
            for name, content in members.items():
                packed.writestr(name, content)
    else:
        _tar(path, members, "w:gz" if kind == "tar.gz" else "w")
        # A plain tar ends in 10 KiB of padding; take it off so that the cut goes through a member.
        if kind == "tar":
            path.write_bytes(path.read_bytes()[: 4 * (512 + 10240)])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(DataError, match=r"cut\..* damaged or incomplete"):
        unpack(path, target, lambda member: member)


def test_a_repeated_member_is_refused(tmp_path: Path):
    with tarfile.open(tmp_path / "twice.tar", "w") as packed:
        for _ in range(2):
            packed.addfile(tarfile.TarInfo("a.txt"))
    target = tmp_path / "out"
    target.mkdir()
    with pytest.raises(DataError, match=r"a\.txt twice"):
        unpack(tmp_path / "twice.tar", target, lambda member: member)
