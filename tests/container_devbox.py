"""A project with a devbox, for the container tests: what make, ssh and recipebox say there."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from container_engine import checked

CALLER = 4242
"""Neither root nor the image's own 1000."""
SECONDS: dict[str, float] = {}
"""What a step took; printed when the session ends."""


@dataclass
class Devbox:
    """A project with a devbox: what make and recipebox say there."""

    project: Path
    environment: dict[str, str]
    port: int

    def make(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["make", "--no-print-directory", *arguments], cwd=self.project, env=self.environment | environment,
            capture_output=True, text=True, timeout=1500, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"make {arguments}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def ssh(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            ["ssh", "-F", str(self.project / ".devbox" / "ssh_config"), "devbox", *command],
            capture_output=True, text=True, timeout=120, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done

    def recipebox(self, *arguments: str, **given: Any) -> subprocess.Popen[str]:
        """The client on this machine, as a process to be waited for or killed."""
        environment = self.environment | {"PYTHONPATH": str(self.project / "src")}
        return subprocess.Popen(
            [sys.executable, "-m", "recipebox.cli", "devbox", *arguments], cwd=self.project, env=environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, **given,
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.recipebox(*arguments)
        out, err = process.communicate(timeout=900)
        return process.returncode, out, err

    def container(self) -> str:
        label = f"label=recipebox.project={self.project}"
        return self.engine("ps", "--quiet", "--filter", label).strip()

    def engine(self, *arguments: str) -> str:
        return checked("docker", *arguments, env=self.environment)
