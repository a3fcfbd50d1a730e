"""The signer's unix socket: who may ask, how much at once, how long.

Started by `cli.signer`; speaks `signing.messages` with `signing.client`. Keeps P9 (peers are known by the
kernel's word, SO_PEERCRED) and P10 (message size, connections and waits are bounded by settings).
"""

import asyncio
import os
import socket
import stat
import struct
from collections.abc import Mapping
from pathlib import Path

import structlog

from cryptowatch.errors import OperatorError
from cryptowatch.settings.signer import Signer
from cryptowatch.signing.messages import (
    Answer,
    Busy,
    MalformedMessage,
    Refused,
    SignBitcoin,
    Signed,
    SignEthereum,
    Status,
    Unavailable,
    frame,
    read_request,
    receive,
)
from cryptowatch.signing.policy import Reason, Refusal
from cryptowatch.signing.service import SigningService
from cryptowatch.signing.wallet import KeysUnavailable

_LOG = structlog.get_logger("cryptowatch.signing")
#: pid, uid and gid of the peer (unix(7)).
_PEER = struct.Struct("3i")


class SocketInUse(OperatorError):
    """Another process serves the socket."""


class SignerServer:
    """Serves until told to stop. `listening` is set once clients can connect."""

    def __init__(self, service: SigningService, settings: Signer) -> None:
        self._service = service
        self._settings = settings
        self._uids = frozenset({os.geteuid(), *settings.peer_uids})
        self._connections: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()
        self._broken: asyncio.Future[bool] | None = None
        self.listening = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Listen until told to stop, then finish the signing under way. Raises SocketInUse, or what broke."""
        self._broken = asyncio.get_running_loop().create_future()
        listener = listen(self._settings.socket, group=bool(self._settings.peer_uids))
        server = await asyncio.start_unix_server(self._accept, sock=listener)
        self.listening.set()
        _LOG.info("signer_listening", socket=str(self._settings.socket), uids=sorted(self._uids))
        stopping: asyncio.Future[bool] = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({stopping, self._broken}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            server.close()
            self._settings.socket.unlink(missing_ok=True)
            await self._drop_connections()
        if self._broken.done():
            self._broken.result()

    async def _drop_connections(self) -> None:
        """Once no signing is under way. Who had no answer yet asks the next process, and is charged once."""
        async with self._one_at_a_time:
            for task in self._connections:
                task.cancel()
            if self._connections:
                await asyncio.wait(self._connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            peer_uid = uid_of(writer.get_extra_info("socket"))
            if peer_uid not in self._uids:
                _LOG.warning("signer_peer_refused", uid=peer_uid)
            elif len(self._connections) >= self._settings.connections_max:
                await self._answer(writer, Busy())
            else:
                self._connections.add(task)
                await self._serve(reader, writer)
        except (ConnectionError, TimeoutError):
            # The peer went away or fell silent: nothing is lost, it asks again.
            pass
        except Exception as problem:
            # Anything else, such as a full disk under the log, ends the process rather than going on.
            if self._broken is not None and not self._broken.done():
                self._broken.set_exception(problem)
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            try:
                async with asyncio.timeout(self._settings.timeout_s):
                    body = await receive(reader, self._settings.message_bytes_max)
                if body is None:
                    return
                request = read_request(body)
            except MalformedMessage as problem:
                # Frames can no longer be told apart: answer and close.
                refusal = Refusal(Reason.MALFORMED, str(problem))
                await self._answer(writer, self._service.refuse(refusal))
                return
            async with self._one_at_a_time:
                if isinstance(request, Status):
                    answer: Answer = self._service.status()
                else:
                    answer = await asyncio.to_thread(self._sign, request)
            await self._answer(writer, answer)

    def _sign(self, request: SignBitcoin | SignEthereum) -> Signed | Refused | Unavailable:
        facts: Mapping[str, str] = {"chain": request.chain, "lineage_id": request.lineage_id}
        try:
            answer = self._service.sign(request)
        except KeysUnavailable as problem:
            _LOG.warning("keys_unavailable", detail=str(problem), **facts)
            return Unavailable(str(problem))
        if isinstance(answer, Refused):
            _LOG.warning("signing_refused", reason=answer.reason, detail=answer.detail, **facts)
        else:
            _LOG.info("signed", **facts)
        return answer

    async def _answer(self, writer: asyncio.StreamWriter, answer: Answer) -> None:
        async with asyncio.timeout(self._settings.timeout_s):
            writer.write(frame(answer))
            await writer.drain()


def uid_of(connection: socket.socket) -> int:
    """The user of the process at the other end, as the kernel knows it."""
    _, uid, _ = _PEER.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return int(uid)


def listen(path: Path, group: bool) -> socket.socket:
    """Bind the socket with mode 0600, or 0660 for its group. A dead process's leftover is replaced.

    Raises SocketInUse when someone answers there, or the name is taken by something that is not a socket.
    """
    if path.exists():
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise SocketInUse(f"{path} exists and is not a socket")
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(path)) == 0:
                raise SocketInUse(f"{path}: another process serves it")
        path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)  # from its first moment nobody else can connect
    try:
        listener.bind(str(path))
        if group:
            path.chmod(0o660)
    except OSError as problem:
        listener.close()
        raise SocketInUse(f"cannot serve {path}: {problem.strerror or problem}") from problem
    finally:
        os.umask(mask)
    return listener
