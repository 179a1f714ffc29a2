"""A container engine, and whether it can hand a GPU in. Python 3.8, standard library."""

from __future__ import annotations

import os
import shutil
from typing import Any

from recipebox.doctor import facts
from recipebox.doctor.findings import NOTE, OK, UNKNOWN, WARNING, Finding, Said, call, short
from recipebox.doctor.gpu import driver_version

ENGINE_LIMIT_S = 15.0
_TOOLKIT = (
    "sudo apt install nvidia-container-toolkit && sudo nvidia-ctk runtime configure --runtime=docker "
    "&& sudo systemctl restart docker"
)


def check_container(request: dict[str, Any]) -> list[Finding]:
    """docker or podman, its daemon, and NVIDIA's toolkit where there is a GPU."""
    name = "container"
    if _in_one():
        inside = [Finding(name, NOTE, "this is one; its engine is asked on the machine around it")]
    else:
        inside = []
    docker, podman = shutil.which("docker"), shutil.which("podman")
    if docker:
        said = call([docker, "version", "--format", "{{.Server.Version}}"], ENGINE_LIMIT_S)
        finding = _docker(name, said)
        if finding.status == OK:
            return [*inside, finding, *_toolkit(docker)]
        if inside:
            return inside  # the engine that matters is the one outside
        if not podman:
            return [finding]
    if podman:
        said = call([podman, "version", "--format", "{{.Client.Version}}"], ENGINE_LIMIT_S)
        if said.code == 0:
            return [*inside, Finding(name, OK, f"podman {short(said.first_line, 40)}"), *_toolkit(podman)]
        return [*inside, Finding(name, WARNING, f"podman {said.ending}: {short(said.output)}", "", "podman info")]
    if inside:
        return inside
    why = "recipebox trains without one, in its own .venv"
    return [Finding(name, NOTE, "no docker and no podman", why)]


def _in_one() -> bool:
    return os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv")


def _docker(name: str, said: Said) -> Finding:
    words = said.output.lower()
    if said.code == 0 and said.first_line and "<no value>" not in words:
        return Finding(name, OK, f"docker {short(said.first_line, 40)}")
    if "permission denied" in words:
        why = "the daemon runs, and this user may not speak to it"
        return Finding(name, WARNING, "docker, not permitted", why, 'sudo usermod -aG docker "$USER" && newgrp docker')
    if "cannot connect" in words or "is the docker daemon running" in words or "failed to connect" in words:
        return Finding(name, WARNING, "docker, its daemon does not run", "", "sudo systemctl start docker")
    if said.code is None:
        return Finding(name, WARNING, f"docker {said.ending}", "", "sudo systemctl restart docker")
    return Finding(name, UNKNOWN, f"docker {said.ending}: {short(said.output) or 'no output'}", "", "docker version")


def _toolkit(engine: str) -> list[Finding]:
    """Only where there is a GPU to hand in."""
    driver = driver_version()
    return [] if driver is None else [*_image(driver), *_hand_in(engine)]


def _image(driver: str) -> list[Finding]:
    """Whether the driver is new enough for the CUDA of docker/Dockerfile."""
    lowest, cuda = facts.DEVBOX["driver"], facts.DEVBOX["CUDA"]
    if facts.numbers(driver) >= facts.numbers(lowest):
        return []
    why = f"its image has CUDA {cuda}, which needs driver {lowest} or newer"
    mend = f"sudo apt install nvidia-driver-{facts.numbers(lowest)[0]} && sudo reboot"
    return [Finding("devbox", WARNING, f"driver {driver} is too old for it", why, mend)]


def _hand_in(engine: str) -> list[Finding]:
    name = "GPU toolkit"
    if _has_cdi():
        return [Finding(name, OK, "a CDI specification of this machine's GPUs")]
    installed = shutil.which("nvidia-ctk") or shutil.which("nvidia-container-cli")
    if not installed:
        return [Finding(name, WARNING, "none", "containers see no GPU without it", _TOOLKIT)]
    if os.path.basename(engine) == "docker":
        said = call([engine, "info", "--format", "{{json .Runtimes}}"], ENGINE_LIMIT_S)
        if said.code == 0 and "nvidia" in said.output:
            return [Finding(name, OK, "docker has the runtime nvidia")]
        return [Finding(name, WARNING, "installed, and docker has no runtime nvidia", "", _TOOLKIT.partition("&& ")[2])]
    mend = "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml"
    return [Finding(name, WARNING, "installed, without a CDI specification", "podman needs one", mend)]


def _has_cdi() -> bool:
    return any(os.path.exists(path) for path in ("/etc/cdi/nvidia.yaml", "/var/run/cdi/nvidia.yaml"))
