"""uvicorn, embedded and repaired: who is silent is hung up on, and nothing of a request goes into a log."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from dicom_node import logs
from dicom_node.config import Settings
from dicom_node.errors import Permanent
from dicom_node.peers import HttpTls
from dicom_node.tls import RenewingContext, http_context
from dicom_node.web.access import HAS_CERTIFICATE

_BACKLOG = 1024
SILENCE_S = 30  # before a request's headers are here, and after an answer that did not wait for the body
MOST_SILENT = 64  # connections of one address that have asked for nothing yet; more are hung up on
_MOST_SILENT_IN_ALL = 256  # of the 1024 descriptors that a process has unless told otherwise
_GRACE_S = 20  # for what is being received when told to stop: less than the supervisor waits

_log = logs.get("server")


def listen(settings: Settings) -> socket.socket:
    """Bind the HTTP port. Raises Permanent if that cannot be."""
    family = socket.AF_INET6 if ":" in settings.http_host else socket.AF_INET
    try:
        return socket.create_server((settings.http_host, settings.http_port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise Permanent(f"HTTP port {settings.http_port} cannot be bound: {error.strerror}") from error


def serve(app: FastAPI, settings: Settings, *, listening: socket.socket, stop: threading.Event) -> None:
    """Answer requests until told to stop; what is being received then may end."""
    server = _Server(_config(app, settings))

    def end() -> None:
        stop.wait()
        server.should_exit = True

    threading.Thread(target=end, name="web-stop", daemon=True).start()
    server.run(sockets=[listening])


class _Server(uvicorn.Server):
    """uvicorn's takes a signal that comes when it is told to stop for a second one, and hangs up on everybody."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    tls = settings.http_tls
    return uvicorn.Config(
        app,
        loop="asyncio",
        http=_Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="warning",
        access_log=False,  # a line has the address, which holds UIDs
        proxy_headers=False,  # or a stranger could say that he is this machine
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        ssl_context_factory=(lambda *_: _renewing_context(tls)) if tls else None,
    )


class _RenewingContext(ssl.SSLContext):
    """Gives each connection the certificate files as they are then: asyncio asks it alone, when somebody connects."""

    renewing: RenewingContext[HttpTls]

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        return self.renewing.current().wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def _renewing_context(tls: HttpTls) -> ssl.SSLContext:
    context = _RenewingContext(ssl.PROTOCOL_TLS_SERVER)
    context.renewing = RenewingContext(tls, http_context)
    return context


class _Connection(H11Protocol):
    """uvicorn's waits for ever for a request, and for the rest of one that was answered early."""

    _hang_up: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        super().connection_made(transport)
        secured = transport.get_extra_info("ssl_object")
        self.app_state = {**self.app_state, HAS_CERTIFICATE: secured is not None and bool(secured.getpeercert())}
        silent = self._addresses_of_the_silent()
        if len(silent) > _MOST_SILENT_IN_ALL or silent.count(self._address) > MOST_SILENT:
            _log.warning("connection_refused", count=len(silent))
            transport.abort()
        self._limit_silence()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._limit_silence()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()  # closes when the answer is sent: who does not read it would stay
        self._limit_silence()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_longer()
        super().connection_lost(exc)

    def _limit_silence(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._wait_no_longer()
        elif self._hang_up is None:
            self._hang_up = self.loop.call_later(SILENCE_S, self.transport.abort)

    def _wait_no_longer(self) -> None:
        if self._hang_up is not None:
            self._hang_up.cancel()
            self._hang_up = None

    @property
    def _address(self) -> str:
        return self.client[0] if self.client else ""

    def _addresses_of_the_silent(self) -> list[str]:
        """Of all connections that have not asked for anything yet, this one too."""
        connections = (each for each in self.connections if isinstance(each, _Connection))
        return [each._address for each in connections if each.cycle is None]
