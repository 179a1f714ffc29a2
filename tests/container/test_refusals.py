"""Ways in that are none: password, root, an unknown key, Jupyter without its token, a port that is not on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from container_devbox import Devbox

pytestmark = [pytest.mark.container, pytest.mark.timeout(1800)]


def attempt(devbox: Devbox, *options: str, user: str = "dev") -> subprocess.CompletedProcess[str]:
    known = json.dumps(str(devbox.project / ".devbox" / "known_hosts"))
    return subprocess.run(
        ["ssh", "-F", "none", "-p", str(devbox.port), "-o", f"UserKnownHostsFile={known}",
         "-o", "StrictHostKeyChecking=yes", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", *options,
         f"{user}@127.0.0.1", "echo in"],
        capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def test_the_key_is_the_way_in(devbox: Devbox) -> None:
    """Else the refusals below would say nothing."""
    done = attempt(devbox, "-i", str(devbox.project / ".devbox" / "id_ed25519"))
    assert done.stdout == "in\n", done.stderr


def test_passwords_are_not_even_asked_for(devbox: Devbox) -> None:
    done = attempt(devbox, "-o", "PreferredAuthentications=password,keyboard-interactive", "-i", "/dev/null")
    assert done.returncode == 255 and "Permission denied (publickey)" in done.stderr


def test_root_stays_outside(devbox: Devbox) -> None:
    done = attempt(devbox, "-i", str(devbox.project / ".devbox" / "id_ed25519"), user="root")
    assert done.returncode == 255 and "Permission denied" in done.stderr


def test_an_unknown_key_stays_outside(devbox: Devbox, tmp_path: Path) -> None:
    key = tmp_path / "stranger"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=30)
    done = attempt(devbox, "-i", str(key))
    assert done.returncode == 255 and "Permission denied" in done.stderr
    config = devbox.project / ".devbox" / "ssh_config"
    kept = config.read_text()
    config.write_text(kept.replace(str(devbox.project / ".devbox" / "id_ed25519"), str(key)))
    try:
        code, _, err = devbox.run("jobs")
    finally:
        config.write_text(kept)
    assert code == 1 and "refuses this key" in err


def test_another_host_key_is_refused(devbox: Devbox, tmp_path: Path) -> None:
    """Somebody else answers at the port: neither ssh nor Fabric goes on."""
    key = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True, timeout=30)
    known = devbox.project / ".devbox" / "known_hosts"
    kept = known.read_text()
    public = " ".join(key.with_suffix(".pub").read_text().split()[:2])
    try:
        known.write_text(f"[127.0.0.1]:{devbox.port} {public}\n")
        code, _, err = devbox.run("jobs")
        assert code == 1 and "another machine answers than before" in err
        assert "Host key verification failed" in devbox.ssh("true", check=False).stderr
        known.write_text("")
        code, _, err = devbox.run("jobs")
        assert code == 1 and "cannot be reached" in err and "not found in known_hosts" in err
    finally:
        known.write_text(kept)


def test_old_algorithms_and_forwarding_are_refused(devbox: Devbox) -> None:
    key = str(devbox.project / ".devbox" / "id_ed25519")
    done = attempt(devbox, "-i", key, "-o", "Ciphers=aes128-cbc,aes128-ctr")
    assert done.returncode == 255 and "no matching cipher" in done.stderr
    done = attempt(devbox, "-i", key, "-o", "ExitOnForwardFailure=yes", "-R", "127.0.0.1:0:127.0.0.1:22")
    assert done.returncode == 255 and "forwarding failed" in done.stderr
    done = attempt(devbox, "-i", key, "-W", "127.0.0.1:2222")
    assert done.returncode == 255 and "administratively prohibited" in done.stderr


def test_ports_are_on_loopback_only(devbox: Devbox) -> None:
    published = json.loads(devbox.engine("inspect", devbox.container(), "--format", "{{json .NetworkSettings.Ports}}"))
    hosts = {binding["HostIp"] for bindings in published.values() for binding in bindings or ()}
    assert hosts == {"127.0.0.1"}
    # And so it is in the kernel: of all sockets that listen on sshd's port, none listens elsewhere.
    listening = subprocess.run(["ss", "-Hltn"], capture_output=True, text=True, timeout=30, check=False).stdout
    if listening:
        places = {line.split()[3] for line in listening.splitlines() if line.split()[3].endswith(f":{devbox.port}")}
        assert places == {f"127.0.0.1:{devbox.port}"}
    addresses = {info[4][0] for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
    for address in addresses - {"127.0.0.1", "127.0.1.1"}:
        with socket.socket() as one, pytest.raises(OSError):
            one.settimeout(5)
            one.connect((str(address), devbox.port))


def test_jupyter_wants_its_token(devbox: Devbox) -> None:
    """Through the tunnel that `make jupyter` makes; beside it there is no way to the port."""
    token = devbox.ssh("jupyter-start").stdout.strip()
    assert len(token) >= 32
    inside = devbox.ssh("cat /proc/net/tcp").stdout
    places = [line.split()[1] for line in inside.splitlines()[1:] if line.split()[3] == "0A"]
    assert "0100007F:22B8" in places  # 127.0.0.1:8888
    assert "00000000:22B8" not in places
    address = devbox.engine(
        "inspect", devbox.container(), "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}"
    ).strip()
    with socket.socket() as one, pytest.raises(OSError):
        one.settimeout(5)
        one.connect((address, 8888))
    port = devbox.port + 1
    tunnel = subprocess.Popen(
        ["ssh", "-F", str(devbox.project / ".devbox" / "ssh_config"), "-N", "-o", "ExitOnForwardFailure=yes",
         "-L", f"127.0.0.1:{port}:127.0.0.1:8888", "devbox"], stdin=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert status(port, "/api/contents", None) == 403
        assert status(port, "/api/contents", "x" * len(token)) == 403
        assert status(port, "/api/contents", token) == 200
        assert token not in devbox.ssh("ps -eo args 2>/dev/null || cat /proc/[0-9]*/cmdline | tr '\\0' ' '").stdout
    finally:
        tunnel.terminate()
        tunnel.wait(20)


def status(port: int, path: str, token: str | None) -> int:
    headers = {} if token is None else {"Authorization": f"token {token}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    for _ in range(100):
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            time.sleep(0.2)
    raise AssertionError("nothing answers through the tunnel")
