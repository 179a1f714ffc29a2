"""A container engine of the tests' own, on a machine that may have neither an engine nor an image registry.

Debian's dockerd with roots, socket and network of its own; a stand-in for the CUDA base image, made by mmdebstrap; in
it, and nowhere else, how this machine reaches its packages. Needs root and disk; `reason_against` says why not.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlparse
from urllib.request import url2pathname

BASE = "recipebox-stand-in-base"
NEEDS = {"dockerd": "docker.io", "docker-compose": "docker-compose", "mmdebstrap": "mmdebstrap"}
DISK_BYTES = 14 << 30
SHOWN = 4000


def reason_against(folder: Path) -> str | None:
    """Why no engine can be started here, or None."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "a container engine of its own needs root on Linux"
    free = shutil.disk_usage(folder).free
    if free < DISK_BYTES:
        return f"{folder} has {free / 2**30:.0f} GiB free; images and their base need {DISK_BYTES >> 30}"
    missing = [package for tool, package in NEEDS.items() if shutil.which(tool) is None]
    if missing and shutil.which("apt-get") is None:
        return f"{', '.join(missing)} not installed, and no apt-get"
    return None


def checked(*command: str, timeout: float = 1200, **given: object) -> str:
    """Run a command and return what it said; an AssertionError with the end of it where it failed."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=timeout,
        check=False, **given,  # type: ignore[call-overload]
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(command)[:300]}\n...{done.stdout[-SHOWN:]}"
    return str(done.stdout)


def install_tools() -> None:
    """Debian's engine, compose and mmdebstrap, where they are not here yet."""
    missing = [package for tool, package in NEEDS.items() if shutil.which(tool) is None]
    if missing:
        environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        checked("apt-get", "update", env=environment)
        checked("apt-get", "install", "-y", "--no-install-recommends", *missing, env=environment)


@contextmanager
def engine(folder: Path) -> Iterator[dict[str, str]]:
    """Yield the environment in which `docker` talks to an engine under `folder`; it is stopped at the end.

    Its bridge has neither routes to elsewhere nor rules in the machine's firewall: containers are reached at the ports
    they publish, and reach nothing.
    """
    install_tools()
    folder.mkdir(parents=True, exist_ok=True)
    # A socket's path may have 107 characters, and pytest's folders are long.
    socket_path = Path(f"/run/recipebox-engine-{os.getpid()}.sock")
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen(
            ["dockerd", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false",
             "--storage-driver=overlay2", "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"),
             "--pidfile", str(folder / "pid"), "--bip", "10.213.0.1/24", "-H", f"unix://{socket_path}"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    # Debian's client and no other: a newer one does not build without a plugin.
    path = os.pathsep.join(["/usr/bin", os.environ.get("PATH", "")])
    environment = os.environ | {"DOCKER_HOST": f"unix://{socket_path}", "DOCKER_BUILDKIT": "1", "PATH": path}
    try:
        for _ in range(600):
            asked = subprocess.run(["docker", "version"], env=environment, capture_output=True, check=False)
            if asked.returncode == 0:
                break
            assert daemon.poll() is None, (folder / "log").read_text(errors="replace")[-SHOWN:]
            time.sleep(0.1)
        else:
            raise AssertionError((folder / "log").read_text(errors="replace")[-SHOWN:])
        yield environment
    finally:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(60)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
        socket_path.unlink(missing_ok=True)
        subprocess.run(["ip", "link", "delete", "docker0"], capture_output=True, check=False)


@contextmanager
def package_folders() -> Iterator[dict[str, str]]:
    """Serve the folders of packages that this machine's pip knows on loopback; yield its settings with their addresses.

    Keys are those of `pip config list`; empty where pip needs no settings.
    """
    said = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings: dict[str, str] = {}
    for line in said.splitlines():
        key, _, value = line.partition("=")
        settings[key.rpartition(".")[2]] = value.strip("'")  # the environment's come last, as pip weighs them
    servers = []

    def served(place: str) -> str:
        path = url2pathname(urlparse(place).path) if place.startswith("file:") else place
        if not os.path.isdir(path):
            return place
        # An index links to the files beside it, so the folder above it is what is served.
        root, name = os.path.split(path.rstrip("/"))
        handler = functools.partial(_Quiet, directory=root)
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/{name}/"

    for key in settings:
        if key.endswith("-url") or key == "find-links":
            settings[key] = " ".join(served(place) for place in settings[key].split())
    try:
        yield settings
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def make_base(folder: Path, environment: dict[str, str], pip: dict[str, str]) -> str:
    """Import the stand-in base image: Debian as this machine has it, with its certificates and pip's settings.

    Returns:
        The image's name.
    """
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    archive = folder / "base.tar"
    if not archive.is_file():
        part = archive.with_suffix(".part.tar")
        checked("mmdebstrap", "--variant=minbase", "--include=ca-certificates", release["VERSION_CODENAME"], str(part))
        os.replace(part, archive)
    context = folder / "base"
    context.mkdir(exist_ok=True)
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    shutil.copy(certificates, context / "ca-certificates.crt")
    # What the image installs is locked, and a file of constraints of this machine is not in it.
    settings = {key: value for key, value in pip.items() if key not in ("cert", "constraint")}
    settings["cert"] = str(certificates)
    lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
    (context / "pip.conf").write_text(f"[global]\n{lines}")
    (context / "Dockerfile").write_text(
        f"FROM {BASE}-bare\nCOPY ca-certificates.crt {certificates}\nCOPY pip.conf /etc/pip.conf\n"
    )
    checked("docker", "import", str(archive), f"{BASE}-bare", env=environment)
    checked("docker", "build", "--quiet", "--tag", BASE, str(context), env=environment)
    return BASE


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
