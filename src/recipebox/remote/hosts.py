"""Connections: which host a name means, and that it is the one it was. Fabric, with host keys checked.

`devbox` means what `make up` wrote into .devbox/ssh_config of the project; any other name is looked up in the user's
own ssh configuration, and its key in the user's known_hosts. A host whose key nobody knows is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from recipebox.errors import BadInput, ConnectionFailed

if TYPE_CHECKING:
    from fabric import Connection

DEVBOX = "devbox"
CONNECT_LIMIT_S = 10
ALIVE_EVERY_S = 15
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")


@dataclass(frozen=True)
class Host:
    """A host by its name, and the ssh configuration that says the rest."""

    name: str
    config: Path | None = None
    known_hosts: Path | None = None

    def mend(self) -> str:
        """What to do where it cannot be reached."""
        if self.name == DEVBOX:
            return "`make up` starts the devbox and writes down its key."
        return f"`ssh {self.name}` must work without a question first."


def find_host(name: str, project: Path) -> Host:
    """The host that `name` means.

    Raises:
        BadInput: no name of a host, or the devbox was never started.
    """
    if not _NAME.fullmatch(name):
        raise BadInput(f"{name[:80]!r} is no name of a host. Give one from your ~/.ssh/config, or none for the devbox.")
    if name != DEVBOX:
        return Host(name)
    folder = project / ".devbox"
    if not (folder / "ssh_config").is_file():
        raise BadInput(f"{folder}: no devbox was started for this project. `make up` starts one.")
    return Host(name, folder / "ssh_config", folder / "known_hosts")


def find_project() -> Path:
    """The checkout this command is called in: the nearest folder above with a .devbox, else this one."""
    here = Path.cwd()
    return next((folder for folder in (here, *here.parents) if (folder / ".devbox").is_dir()), here)


@contextmanager
def connected(host: Host) -> Iterator[Connection]:
    """Yield an open connection to a host whose key is known.

    Raises:
        ConnectionFailed: it cannot be reached, its key is another or unknown, or it does not let us in.
    """
    import paramiko

    connection = _connection(host)
    try:
        try:
            connection.open()
        except paramiko.BadHostKeyException as error:
            place = "" if error.hostname == connection.host else f" at {error.hostname}, on the way"
            known = f"another machine answers than before{place}: its host key is not the known one"
            raise ConnectionFailed(f"{host.name}: {known}. {host.mend()}") from None
        except paramiko.AuthenticationException:
            raise ConnectionFailed(f"{host.name}: refuses this key. {host.mend()}") from None
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise ConnectionFailed(f"{host.name}: cannot be reached ({_words(error)}). {host.mend()}") from None
        transport = connection.client.get_transport()
        transport.set_keepalive(ALIVE_EVERY_S)
        try:
            yield connection
        except (paramiko.SSHException, EOFError) as error:
            lost = f"the connection was lost ({_words(error)}). What runs there goes on; `make attach` comes back to it"
            raise ConnectionFailed(f"{host.name}: {lost}.") from None
    finally:
        connection.close()


def _connection(host: Host) -> Connection:
    from fabric import Config, Connection

    if host.config is not None:
        config = Config(runtime_ssh_path=str(host.config))
    else:
        config = Config()
    # Within the devbox itself (a host without Python calls it there) sshd has its own port, not the published one.
    port = os.environ.get("RECIPEBOX_DEVBOX_PORT", "") if host.name == DEVBOX else ""
    connection = Connection(host.name, config=config, port=int(port) if port.isdigit() else None)
    if host.config is not None:
        connection.connect_kwargs.update(allow_agent=False, look_for_keys=False)
    _known_only(connection, host.known_hosts or _users_known_hosts())
    hop = connection.gateway
    while isinstance(hop, Connection):  # what stands in a ProxyCommand is text here, and no client of ours
        _known_only(hop, _users_known_hosts())
        hop = hop.gateway
    return connection


def _known_only(connection: Connection, known_hosts: Path) -> None:
    """Refuse a key that is not in a file: Fabric's own clients, those of hosts on the way too, take any."""
    import paramiko

    connection.connect_timeout = CONNECT_LIMIT_S
    connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    if known_hosts.is_file():
        connection.client.load_host_keys(str(known_hosts))


def _users_known_hosts() -> Path:
    return Path.home() / ".ssh" / "known_hosts"


def _words(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
