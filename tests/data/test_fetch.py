"""A download is the expected file, whole, or nothing."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from recipebox.data.fetch import download
from recipebox.errors import DataError, StorageError

CONTENT = bytes(range(256)) * 5000


class _Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/gone":
            self.send_error(404)
            return
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
            return
        self.send_response(200)
        if self.path != "/unknown-length":
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[: 300_000 if self.path == "/cut" else None])

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize("path", ["/file", "/moved", "/unknown-length"])
def test_the_file_arrives_whole(address: str, path: str, tmp_path: Path):
    out = tmp_path / "new/folder/file.bin"
    assert download(address + path, out, hashlib.sha256(CONTENT).hexdigest(), "a file") == out
    assert out.read_bytes() == CONTENT
    assert list(out.parent.iterdir()) == [out]


@pytest.mark.parametrize(
    ("path", "sha256", "told"),
    [
        ("/file", "0" * 64, "expected 0000"),
        ("/gone", None, "answered 404"),
        ("/cut", None, "300000 of 1280000 bytes|was cut"),
    ],
)
def test_what_is_not_the_file_leaves_nothing(address: str, path: str, sha256: str | None, told: str, tmp_path: Path):
    out = tmp_path / "file.bin"
    out.write_text("what was here before")
    with pytest.raises(DataError, match=told) as raised:
        download(address + path, out, sha256, "a file")
    assert address + path in str(raised.value) and str(out) in str(raised.value)
    assert [entry.read_text() for entry in tmp_path.iterdir()] == ["what was here before"]


def test_without_a_network_the_address_and_the_place_are_named(tmp_path: Path):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/file"
    with pytest.raises(DataError, match="no connection") as raised:
        download(url, tmp_path / "file.bin", None, "a file")
    assert url in str(raised.value) and str(tmp_path / "file.bin") in str(raised.value)
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_storage_error_and_leaves_nothing(address: str, small_disk: Callable[[int], Path]):
    disk = small_disk(256)
    with pytest.raises(StorageError, match="the disk is full"):
        download(f"{address}/file", disk / "file.bin", None, "a file")
    assert list(disk.iterdir()) == []
