"""Fetching a file from its public address: streamed, checked, whole or absent."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from recipebox.data.places import make_folder
from recipebox.errors import DataError
from recipebox.run_dir import atomic_writer

CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
_BLOCK = 1 << 18


class _HttpConnection(http.client.HTTPConnection):
    """Gives up quickly on an address that does not answer, and slowly on one that does."""

    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(READ_TIMEOUT_S)


class _HttpsConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.sock.settimeout(READ_TIMEOUT_S)


class _HttpHandler(urllib.request.HTTPHandler):
    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        connection: Callable[..., http.client.HTTPConnection] = _HttpConnection
        return self.do_open(connection, request)


class _HttpsHandler(urllib.request.HTTPSHandler):
    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        context = ssl.create_default_context()
        return self.do_open(_HttpsConnection, request, context=context)


def download(url: str, out: Path, sha256: str | None, description: str) -> Path:
    """Fetch `url` into `out` with a progress bar, and return `out`.

    Args:
        url: http or https address.
        out: where the file goes; it is whole or absent, never half.
        sha256: the expected hash, hex; None where the address serves no stable bytes (the caller checks the content).
        description: a few words for the progress bar and the messages.

    Raises:
        DataError: no connection, an error from the server, a cut transfer, or another hash than expected.
        StorageError: the disk refuses.
    """
    make_folder(out.parent)
    by_hand = f"Fetch it by hand on a machine with a network and place it as {out}"
    with atomic_writer(out) as file:
        digest = hashlib.sha256()
        received = 0
        try:
            for block in _stream(url, description):
                file.write(block)
                digest.update(block)
                received += len(block)
        except urllib.error.HTTPError as error:
            raise DataError(f"{description}: {url} answered {error.code} {error.reason}. {by_hand}.") from None
        except _Cut as error:
            raise DataError(f"{description}: {url}: {error}. Run the command again, or: {by_hand}.") from None
        if sha256 is not None and digest.hexdigest() != sha256:
            raise DataError(
                f"{description}: {url} served {received} bytes with SHA-256 {digest.hexdigest()}, expected {sha256}. "
                f"Nothing was kept. Run the command again; if it stays so, do not trust the address. {by_hand}."
            )
    return out


class _Cut(Exception):
    """The transfer failed, in words. Kept apart from OSError, which here means the disk."""


def _stream(url: str, description: str) -> Iterator[bytes]:
    from recipebox.progress import track

    request = urllib.request.Request(url, headers={"User-Agent": "recipebox"})
    opener = urllib.request.build_opener(_HttpHandler(), _HttpsHandler())
    try:
        response: Any = opener.open(request, timeout=CONNECT_TIMEOUT_S)
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError as error:
        raise _Cut(f"no connection ({error.reason})") from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _Cut(f"no connection ({error})") from None
    with response:
        length = response.headers.get("Content-Length")
        expected = int(length) if length and length.isdigit() else None
        total = None if expected is None else -(-expected // _BLOCK)
        received = 0
        for block in track(_blocks(response), f"fetching {description}", total=total):
            received += len(block)
            yield block
    if expected is not None and received != expected:
        raise _Cut(f"the transfer ended after {received} of {expected} bytes")


def _blocks(response: Any) -> Iterator[bytes]:
    while True:
        try:
            block = response.read(_BLOCK)
        except (OSError, http.client.HTTPException) as error:
            raise _Cut(f"the transfer was cut ({error})") from None
        if not block:
            return
        yield block
