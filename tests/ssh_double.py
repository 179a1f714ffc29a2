"""An ssh server in this process, for tests without a container: one key gets in; a shell reads commands, as sshd's."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

import paramiko
from paramiko import SFTPAttributes, SFTPHandle, SFTPServer, SFTPServerInterface


class Door(paramiko.ServerInterface):
    """Lets one key in, and starts what is asked for."""

    def __init__(self, server: SshDouble, transport: paramiko.Transport) -> None:
        self.server, self.transport = server, transport

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        self.server.logins.append(username)
        return paramiko.AUTH_SUCCESSFUL if key == self.server.user_key else paramiko.AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return paramiko.OPEN_SUCCEEDED

    def check_channel_direct_tcpip_request(self, chanid: int, origin: Any, destination: tuple[str, int]) -> int:
        threading.Thread(target=_jump, args=(self.transport, chanid, destination), daemon=True).start()
        return paramiko.OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        self.server.commands.append(command.decode())
        threading.Thread(target=self.server.execute, args=(channel, command.decode()), daemon=True).start()
        return True


class Files(SFTPServerInterface):
    """Reads files of this machine."""

    def stat(self, path: str) -> Any:
        return SFTPAttributes.from_stat(os.stat(path))

    def open(self, path: str, flags: int, attr: Any) -> Any:
        handle = SFTPHandle(flags)
        try:
            handle.readfile = open(path, "rb")  # type: ignore[attr-defined]  # noqa: SIM115
        except OSError as error:
            return SFTPServer.convert_errno(error.errno or 0)
        return handle


class SshDouble:
    """`with SshDouble(folder, environment) as server:` and folder/.devbox/ssh_config leads to it.

    Attributes:
        commands: what was asked to be executed, in order.
        logins: who was about to prove that a key is theirs, in order.
    """

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.host_key, self.user_key = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
        self.commands: list[str] = []
        self.logins: list[str] = []
        self.transports: list[paramiko.Transport] = []
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self._socket.listen()
        self.port = self._socket.getsockname()[1]

    def __enter__(self) -> SshDouble:
        state = self.folder / ".devbox"
        state.mkdir()
        self.user_key.write_private_key_file(str(state / "id_ed25519"))
        self.write_known(self.host_key)
        (state / "ssh_config").write_text(
            f'Host devbox\n  HostName 127.0.0.1\n  Port {self.port}\n  User dev\n  IdentityFile "{state}/id_ed25519"\n'
        )
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self.drop()

    def write_known(self, key: paramiko.PKey) -> None:
        line = f"[127.0.0.1]:{self.port} {key.get_name()} {key.get_base64()}\n"
        (self.folder / ".devbox" / "known_hosts").write_text(line)

    def drop(self) -> None:
        """Lose all connections without a goodbye."""
        for transport in self.transports:
            transport.sock.close()
            transport.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            transport = paramiko.Transport(client)
            transport.add_server_key(self.host_key)
            transport.set_subsystem_handler("sftp", SFTPServer, Files)
            self.transports.append(transport)
            try:
                transport.start_server(server=Door(self, transport))
            except (paramiko.SSHException, EOFError):
                continue

    def execute(self, channel: paramiko.Channel, command: str) -> None:
        process = subprocess.Popen(
            command, shell=True, cwd=self.folder, env=self.environment,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin and process.stdout and process.stderr
        pumps = [
            threading.Thread(target=_pump, args=(process.stdout, channel.sendall), daemon=True),
            threading.Thread(target=_pump, args=(process.stderr, channel.sendall_stderr), daemon=True),
        ]
        for pump in pumps:
            pump.start()
        while data := channel.recv(1 << 16):
            process.stdin.write(data)
        process.stdin.close()
        for pump in pumps:
            pump.join()
        try:
            channel.send_exit_status(process.wait())
            channel.close()
        except (OSError, EOFError):
            pass


def _jump(transport: paramiko.Transport, number: int, destination: tuple[str, int]) -> None:
    """Carry a channel's bytes to another place and back, as a host on the way does."""
    channel = transport.accept(20)
    while channel is not None and channel.get_id() != number:
        channel = transport.accept(20)
    if channel is None:
        return
    with socket.create_connection(destination) as there:
        back = threading.Thread(target=_carry, args=(there.recv, channel.sendall), daemon=True)
        back.start()
        _carry(channel.recv, there.sendall)
    channel.close()


def _carry(receive: Any, send: Any) -> None:
    try:
        while data := receive(1 << 16):
            send(data)
    except (OSError, EOFError):
        pass


def _pump(source: Any, send: Any) -> None:
    try:
        while data := source.read1(1 << 16):
            send(data)
    except (OSError, EOFError):
        pass
