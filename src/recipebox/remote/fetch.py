"""A run brought here from another host: every file with the hash it has there, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from recipebox.errors import BadInput, ConnectionFailed, RunError, storage_errors
from recipebox.progress import Progress
from recipebox.remote.hosts import Host, connected
from recipebox.remote.inside import KEEPER, ask
from recipebox.run_dir import RunDir, is_run, runs_root

_RUN = re.compile(r"(?P<recipe>[^/\0]{1,200})/(?P<id>[0-9]{8}-[0-9]{6}-[0-9a-f]{4})/?")


@dataclass(frozen=True)
class Fetched:
    """A run that was fetched."""

    run: RunDir
    files: int
    bytes: int

    def document(self) -> dict[str, Any]:
        return {"run": str(self.run.root), "files": self.files, "bytes": self.bytes, "verified": "sha256"}

    def text(self) -> str:
        return f"{self.run.root}: {self.files} files, {self.bytes / 1e6:.1f} MB, each with the hash it has there"


def fetch_run(host: Host, name: str, to: Path | None) -> Fetched:
    """Copy a run's folder from a host into the runs folder here (or `to`).

    Args:
        name: RECIPE/ID of a run there, or its folder's path: its last two parts.

    Raises:
        BadInput: no such run there.
        RunError: a run of that name is here already.
        ConnectionFailed: the way was lost, or a file changed on the way (a run that is still being worked on).
        StorageError: no room.
    """
    found = _RUN.fullmatch("/".join(PurePosixPath(name).parts[-2:]))
    if found is None or found["recipe"] in {".", ".."}:
        raise BadInput(f"{name[:120]!r} names no run: expected RECIPE/ID, as `recipebox devbox run runs` lists them.")
    target = (to or runs_root()).absolute() / found["recipe"] / found["id"]
    if target.exists():
        raise RunError(f"{target}: is here already. Give another place with --to, or move it away.")
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    with connected(host) as connection, storage_errors(target):
        asked = json.dumps({"recipe": found["recipe"], "id": found["id"]}).encode()
        listed = json.loads(ask(connection, f"{KEEPER} files", asked))
        sftp = connection.sftp()
        try:
            part.mkdir(parents=True)
            size = sum(int(one["bytes"]) for one in listed["files"])
            with Progress(f"fetching {found['recipe']}/{found['id']}", size) as bar:
                for one in listed["files"]:
                    _fetch_file(sftp, PurePosixPath(listed["folder"]), one, part)
                    bar.update(int(one["bytes"]), info=str(one["path"]))
            if not is_run(part):
                raise RunError(f"{name}: no run there (no plan.yaml in it).")
            part.rename(target)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return Fetched(RunDir(target), len(listed["files"]), size)


def _fetch_file(sftp: Any, folder: PurePosixPath, listed: dict[str, Any], part: Path) -> None:
    path = PurePosixPath(str(listed["path"]))
    if path.is_absolute() or ".." in path.parts:
        raise ConnectionFailed(f"the other side names a file outside the run: {str(path)[:80]!r}. Nothing was fetched.")
    here = part / path
    here.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with open(here, "wb") as file:
        try:
            with sftp.open(str(folder / path), "rb") as there:
                there.prefetch(int(listed["bytes"]))
                while data := there.read(1 << 16):
                    digest.update(data)
                    file.write(data)
        except EOFError as error:
            raise ConnectionFailed(f"the connection was lost at {path} ({error}). Nothing was kept.") from None
    if digest.hexdigest() != listed["sha256"]:
        raise ConnectionFailed(
            f"{path} is not the file it was there: the run is being worked on. Fetch it when it is done."
        )
