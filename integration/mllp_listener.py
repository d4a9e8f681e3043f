"""An MLLP port: who may connect, how long and how much, and the conversation on each connection.

Source: HL7 2.5.1 appendix C.4. One event loop holds all connections; none costs a thread.
"""

import asyncio
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from dicom_node import logs
from dicom_node.addresses import source_of
from dicom_node.receive.refusals import Refusal, Refusals
from dicom_node.tls import words_of
from integration.group_queue import GroupQueue
from integration.mllp_conversation import READ_BYTES, Budget, Conversation, Limits

_HANDSHAKE_TIMEOUT_S = 5.0
_AFTER_FAILED_ACCEPT_S = 0.5

_log = logs.get("mllp")


@dataclass(frozen=True)
class Door:
    """Who may come in, and how."""

    admits: Callable[[str], bool]  # an address
    secure: Callable[[], ssl.SSLContext] | None  # the TLS context of the next connection
    refusals: Refusals


class MllpListener:
    """Serves one port until told to stop."""

    def __init__(self, door: Door, queue: GroupQueue, limits: Limits = Limits()) -> None:
        self._door = door
        self._queue = queue
        self._limits = limits
        self._budget = Budget(limits.held_bytes)
        self._connections: dict[asyncio.Task[None], str] = {}  # and the address of each

    async def serve(self, listening: socket.socket, stop: threading.Event) -> None:
        """Accept and answer until `stop` is set; what is committed then is not answered, and will come again."""
        accepting, stopping = asyncio.create_task(self._accept(listening)), asyncio.create_task(_is_set(stop))
        await asyncio.wait({accepting, stopping}, return_when=asyncio.FIRST_COMPLETED)
        tasks = (accepting, stopping, *self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._queue.close()
        if not accepting.cancelled():
            accepting.result()

    async def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, peer = await asyncio.get_running_loop().sock_accept(listening)
            except OSError as error:  # out of descriptors, or the caller has gone
                _log.error("accept_failed", reason=error.strerror)
                await asyncio.sleep(_AFTER_FAILED_ACCEPT_S)
                continue
            if why := self._why_not(peer[0]):
                self._door.refusals.tell(Refusal("connection_refused", peer[0], why))
                connection.close()
            else:
                self._begin(connection, peer[0])

    def _why_not(self, address: str) -> str:
        if not self._door.admits(address):
            return "address is not one of hl7_senders"
        callers = Counter(self._connections.values())
        if callers.total() >= self._limits.connections or callers[_caller(address)] >= self._limits.connections_of_one:
            return "too many connections"
        return ""

    def _begin(self, connection: socket.socket, address: str) -> None:
        task = asyncio.create_task(self._converse(connection, address))
        self._connections[task] = _caller(address)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        del self._connections[task]
        if not task.cancelled() and (fault := task.exception()):
            _log.error("connection_failed", trace=logs.places(fault))

    async def _converse(self, connection: socket.socket, address: str) -> None:
        try:
            reader, writer = await _open(connection, self._door.secure)
        except OSError as error:  # time-out, TLS error and reset are all OSErrors
            self._door.refusals.tell(Refusal("handshake_refused", address, words_of(error)))
            return
        try:
            await Conversation(reader, writer, self._queue, budget=self._budget, limits=self._limits).hold()
        finally:
            writer.close()


async def _open(
    connection: socket.socket, secure: Callable[[], ssl.SSLContext] | None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Raises OSError when TLS fails, or lasts too long altogether."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)  # who has gone without a word is found out
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=READ_BYTES)
    protocol = asyncio.StreamReaderProtocol(reader)
    context = secure() if secure else None
    timeout_s = _HANDSHAKE_TIMEOUT_S if context else None
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, connection, ssl=context, ssl_handshake_timeout=timeout_s
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _is_set(stop: threading.Event) -> None:
    loop, is_set = asyncio.get_running_loop(), asyncio.Event()

    def watch() -> None:
        stop.wait()
        loop.call_soon_threadsafe(is_set.set)

    threading.Thread(target=watch, name="hl7-stop", daemon=True).start()
    await is_set.wait()


def _caller(address: str) -> str:
    return str(source_of(address))
