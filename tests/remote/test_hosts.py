"""Whose keys are taken: of the host itself and of every host on the way there, known ones only."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from ssh_double import SshDouble

from recipebox.errors import ConnectionFailed
from recipebox.remote.hosts import Host, connected, find_host


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The .ssh of a user who knows nobody yet."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home" / ".ssh").mkdir(parents=True)
    return tmp_path / "home" / ".ssh"


def server(folder: Path) -> Iterator[SshDouble]:
    folder.mkdir()
    with SshDouble(folder, {}) as double:
        yield double


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[SshDouble]:
    """The host on the way."""
    yield from server(tmp_path / "edge")


@pytest.fixture
def far(tmp_path: Path) -> Iterator[SshDouble]:
    """The host that is meant."""
    yield from server(tmp_path / "far")


def entry(name: str, double: SshDouble, more: str = "") -> str:
    key = double.folder / ".devbox" / "id_ed25519"
    return f'Host {name}\n  HostName 127.0.0.1\n  Port {double.port}\n  User dev\n  IdentityFile "{key}"\n{more}'


def know(home: Path, *doubles: SshDouble) -> None:
    lines = [(double.folder / ".devbox" / "known_hosts").read_text() for double in doubles]
    (home / "known_hosts").write_text("".join(lines))


def test_the_way_leads_through_a_known_host(home: Path, edge: SshDouble, far: SshDouble) -> None:
    (home / "config").write_text(entry("far", far, "  ProxyJump edge\n") + entry("edge", edge))
    know(home, edge, far)
    with connected(Host("far")) as connection:
        assert connection.is_connected
    assert edge.logins and far.logins


def test_a_host_on_the_way_is_known_or_refused(home: Path, edge: SshDouble, far: SshDouble) -> None:
    (home / "config").write_text(entry("far", far, "  ProxyJump edge\n") + entry("edge", edge))
    know(home, far)
    with pytest.raises(ConnectionFailed, match=r"not found in known_hosts.*`ssh far` must"), connected(Host("far")):
        pass
    edge.write_known(paramiko.ECDSAKey.generate())
    know(home, edge, far)
    with pytest.raises(ConnectionFailed, match="another machine answers than before"), connected(Host("far")):
        pass
    assert edge.logins == far.logins == []


def test_so_is_the_first_of_two(home: Path, edge: SshDouble, far: SshDouble, tmp_path: Path) -> None:
    for middle in server(tmp_path / "middle"):
        entries = entry("far", far, "  ProxyJump middle\n"), entry("middle", middle, "  ProxyJump edge\n")
        (home / "config").write_text("".join(entries) + entry("edge", edge))
        know(home, middle, far)
        with pytest.raises(ConnectionFailed, match="not found in known_hosts"), connected(Host("far")):
            pass
        assert edge.logins == middle.logins == far.logins == []
        know(home, edge, middle, far)
        with connected(Host("far")):
            assert edge.logins and middle.logins and far.logins


def test_behind_a_command_as_well(home: Path, far: SshDouble, tmp_path: Path) -> None:
    """A ProxyCommand brings bytes; whose they are is asked all the same."""
    relay = tmp_path / "relay.py"
    relay.write_text(
        "import os, socket, sys, threading\n"
        "there = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def back():\n    while data := there.recv(65536): os.write(1, data)\n    os._exit(0)\n"
        "threading.Thread(target=back, daemon=True).start()\n"
        "while data := os.read(0, 65536): there.sendall(data)\n"
    )
    (home / "config").write_text(entry("far", far, f"  ProxyCommand {sys.executable} {relay} %h {far.port}\n"))
    with pytest.raises(ConnectionFailed, match="not found in known_hosts"), connected(Host("far")):
        pass
    assert far.logins == []
    know(home, far)
    with connected(Host("far")):
        assert far.logins


def test_the_devboxs_keys_are_the_devboxs(home: Path, edge: SshDouble, far: SshDouble) -> None:
    """A way to the devbox that somebody wrote into its ssh_config: the host on it is one of the user's."""
    config = far.folder / ".devbox" / "ssh_config"
    config.write_text(entry("devbox", far, "  ProxyJump edge\n") + entry("edge", edge))
    known = far.folder / ".devbox" / "known_hosts"
    known.write_text(known.read_text() + (edge.folder / ".devbox" / "known_hosts").read_text())
    host = find_host("devbox", far.folder)
    with pytest.raises(ConnectionFailed, match="not found in known_hosts"), connected(host):
        pass
    know(home, edge)
    with connected(host):
        assert edge.logins and far.logins
