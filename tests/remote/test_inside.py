"""recipebox over ssh as it is here: output, exit code, Ctrl-C, a lost connection; and no shell reads a value."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from conftest import REPOSITORY, command_line_environment
from ssh_double import SshDouble


@pytest.fixture
def there(tmp_path: Path, own_runs: Path) -> Iterator[SshDouble]:
    """A host whose runs are this test's; its project is tmp_path."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "python").symlink_to(sys.executable)
    wrapper = tools / "python"
    wrapper.unlink()
    wrapper.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    wrapper.chmod(0o755)
    environment = command_line_environment(PATH=f"{tools}:{os.environ['PATH']}")
    with SshDouble(tmp_path, environment) as server:
        yield server


def client(there: SshDouble, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "recipebox.cli", "devbox", *arguments], cwd=there.folder,
        env=command_line_environment(**environment), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def said(there: SshDouble, *arguments: str, **environment: str) -> tuple[int, str, str]:
    process = client(there, *arguments, **environment)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def test_a_verb_runs_there_as_here(there: SshDouble) -> None:
    assert said(there, "run", "version")[:2] == (0, "0.1.0\n")
    code, out, err = said(there, "run", "plan", "no such; touch harm $(touch harm)", "--json")
    assert code == 2
    assert json.loads(out)["error"]["exit_code"] == 2
    assert "no such" in err
    assert not (there.folder / "harm").exists()
    keeper = "python -m recipebox.remote.keeper "
    assert all(command.startswith(keeper) for command in there.commands)
    assert not [command for command in there.commands if "touch" in command]
    code, out, _ = said(there, "jobs", "--json")
    assert [one["exit_code"] for one in json.loads(out)] == [2, 0]


def test_another_machines_project_lies_elsewhere(there: SshDouble) -> None:
    """Nothing of this machine's folders is asked for there: relative names are those of the project there."""
    project, ssh = there.folder / "elsewhere" / "its project", there.folder / "home" / ".ssh"
    project.mkdir(parents=True)
    ssh.mkdir(parents=True)
    (project / "its-own.yaml").write_text("# purpose: to be found\nextends: pcb-baseline\n")
    (ssh / "config").write_text((there.folder / ".devbox" / "ssh_config").read_text().replace("devbox\n", "other\n", 1))
    shutil.copy(there.folder / ".devbox" / "known_hosts", ssh)
    there.environment.pop("RECIPEBOX_PROJECT", None)
    plan = ("run", "--host", "other", "plan", "its-own.yaml", "--json")
    code, _, err = said(there, *plan, HOME=str(ssh.parent))
    assert code == 2 and "does HOST lead to a devbox?" in err
    there.environment["RECIPEBOX_PROJECT"] = str(project)
    code, out, err = said(there, *plan, HOME=str(ssh.parent))
    assert code == 0, err
    assert json.loads(out)["name"] == "its-own"
    (job,) = (there.folder / "runs" / ".jobs").glob("*/job.json")
    assert json.loads(job.read_text())["folder"] == str(project)


def slow_job(there: SshDouble) -> str:
    """The environment variable that makes recipebox there wait until it is told to stop."""
    package = there.folder / "slow"
    package.mkdir()
    (package / "sitecustomize.py").write_text(
        "import sys, time\n"
        "if sys.argv[0] == '-m' and 'version' in sys.orig_argv and 'recipebox.cli' in sys.orig_argv:\n"
        "    print('begun', flush=True)\n"
        "    try:\n        time.sleep(600)\n"
        "    except KeyboardInterrupt:\n        print('stopped', flush=True)\n        import os; os._exit(130)\n"
    )
    there.environment["PYTHONPATH"] += os.pathsep + str(package)
    return "version"


def test_ctrl_c_stops_what_runs_there(there: SshDouble) -> None:
    process = client(there, "run", slow_job(there))
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "stopped\n"), err


def test_ctrl_backslash_leaves_it_running(there: SshDouble) -> None:
    process = client(there, "run", slow_job(there))
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    process.send_signal(signal.SIGQUIT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and "goes on" in err
    _, out, _ = said(there, "jobs", "--json")
    job = json.loads(out)[0]
    assert job["state"] == "running"
    back = client(there, "attach", job["id"])
    assert back.stdout is not None and back.stdout.readline() == "begun\n"
    back.send_signal(signal.SIGINT)
    back.communicate(timeout=60)
    assert back.returncode == 130


def test_a_lost_connection_is_told_and_stops_nothing(there: SshDouble) -> None:
    process = client(there, "run", slow_job(there))
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    there.drop()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "the connection was lost. The job goes on" in err
    _, out, _ = said(there, "jobs", "--json")
    assert json.loads(out)[0]["state"] == "running"
    back = client(there, "attach")
    assert back.stdout is not None and back.stdout.readline() == "begun\n"
    back.send_signal(signal.SIGINT)
    back.communicate(timeout=60)


def test_only_the_known_host_is_talked_to(there: SshDouble) -> None:
    there.write_known(paramiko.ECDSAKey.generate())
    code, out, err = said(there, "run", "version", "--json")
    assert code == 1 and "another machine answers than before" in err
    assert json.loads(out)["error"]["kind"] == "ConnectionFailed"
    (there.folder / ".devbox" / "known_hosts").unlink()
    code, _, err = said(there, "run", "version")
    assert code == 1 and "cannot be reached" in err
    assert there.commands == []


def test_no_devbox_is_said_in_words(tmp_path: Path, there: SshDouble) -> None:
    shutil.rmtree(there.folder / ".devbox")
    code, _, err = said(there, "run", "version")
    assert code == 2 and "`make up` starts one" in err


@pytest.mark.parametrize("name", ["a;touch harm", "$(touch harm)", "-oProxyCommand=touch harm", "a b", "", "a\nb"])
def test_a_hosts_name_is_a_name(there: SshDouble, name: str) -> None:
    code, _, err = said(there, "jobs", f"--host={name}")
    assert code == 2 and "no name of a host" in err
    assert not (there.folder / "harm").exists()


def some_run(there: SshDouble, runs: Path) -> Path:
    run = runs / "some recipe; touch harm" / "20260101-000000-abcd"
    (run / "weights").mkdir(parents=True)
    (run / "plan.yaml").write_text("a: 1\n")
    (run / "weights" / "best.pt").write_bytes(os.urandom(300_000))
    return run


def test_a_run_is_fetched_whole(there: SshDouble, own_runs: Path) -> None:
    run = some_run(there, own_runs)
    name = f"{run.parent.name}/{run.name}"
    code, out, err = said(there, "fetch", name, "--to", "copies", "--json")
    assert code == 0, err
    copy = Path(json.loads(out)["run"])
    for path in ("plan.yaml", "weights/best.pt"):
        assert hashlib.sha256((copy / path).read_bytes()).digest() == hashlib.sha256((run / path).read_bytes()).digest()
    code, _, err = said(there, "fetch", name, "--to", "copies")
    assert code == 2 and "is here already" in err
    for wrong in ("x/20260101-000000-abcd", "nonsense", "../../20260101-000000-abcd"):
        code, _, err = said(there, "fetch", wrong, "--to", "copies")
        assert code == 2, wrong
    assert {path.name for path in (there.folder / "copies").rglob(".*")} == set()


def test_the_keeper_takes_no_other_command(there: SshDouble) -> None:
    keeper = [sys.executable, "-m", "recipebox.remote.keeper"]
    wrong: list[tuple[list[str], str]] = [
        (["follow", "../x"], ""),
        (["start"], "[]"),
        (["start"], '{"arguments": [1]}'),
        (["start"], "{"),
        (["start"], '{"arguments": ["version"], "folder": "/nowhere"}'),
        (["stop", "x"], ""),
        ([], ""),
    ]
    for arguments, sent in wrong:
        done = subprocess.run(
            [*keeper, *arguments], input=sent, capture_output=True, text=True, timeout=60, check=False,
            env=command_line_environment(), cwd=REPOSITORY,
        )  # fmt: skip
        assert done.returncode == 2 and done.stderr.startswith("keeper: "), (arguments, sent, done.stderr)


def test_a_terminal_there_where_there_is_one_here(there: SshDouble) -> None:
    """What runs there writes as on a terminal of this one's width when it is started from one."""
    import pty

    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "recipebox.cli", "devbox", "run", "version"], cwd=there.folder,
        env=command_line_environment(), stdin=subprocess.DEVNULL, stdout=slave, stderr=slave,
    )  # fmt: skip
    os.close(slave)
    process.wait(timeout=60)
    time.sleep(0.1)
    assert b"0.1.0" in os.read(master, 1 << 16)
    os.close(master)
    jobs = sorted((there.folder / "runs" / ".jobs").iterdir())
    assert json.loads((jobs[-1] / "job.json").read_text())["terminal"]["stdout"] is True
    assert (jobs[-1] / "stdout").read_bytes() == b"0.1.0\r\n"  # a terminal's line ending
