"""The Storage SCP: C-STORE answers 0x0000 after the file is fsynced and its row committed (PS3.4 B.2.3)."""

import ctypes
import gc
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any, cast

from pynetdicom import AE, _config, evt
from pynetdicom.events import Event
from pynetdicom.transport import RequestHandler

from dicom_node import logs
from dicom_node.audit import AuditTrail
from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import lengthen_log, open_database, opened_current
from dicom_node.errors import Permanent
from dicom_node.heartbeat import Pulse, beating
from dicom_node.models import Commitment
from dicom_node.orphans import take_over
from dicom_node.receive.admission import make_doorkeeper
from dicom_node.receive.association import FastRequestHandler
from dicom_node.receive.catalog import registered_paths
from dicom_node.receive.commitment import STORAGE_COMMITMENT, make_commitment_handler
from dicom_node.receive.commitment_answer import make_answer_handler
from dicom_node.receive.commitment_report import Reporter, lanes
from dicom_node.receive.digests import Digests
from dicom_node.receive.hints import UNCOMPRESSED, hint_sop_classes, make_hint_handlers
from dicom_node.receive.intake import Intake, Receiver
from dicom_node.receive.listener import Listener, bound_port
from dicom_node.receive.negotiation import negotiate_by_these_rules
from dicom_node.receive.port import Port, open_port
from dicom_node.receive.refusals import Refusals
from dicom_node.receive.siblings import siblings
from dicom_node.receive.transfers import TransferBook
from dicom_node.receive.whole_object import keep_whole
from dicom_node.retention.rounds import Retention
from dicom_node.rounds import together
from dicom_node.tls import RenewingContext, server_context

VERIFICATION = "1.2.840.10008.1.1"  # PS3.4 A.4

ACSE_TIMEOUT_S = 30
_M_ARENA_MAX, _M_MMAP_THRESHOLD = -8, -3  # malloc.h
_LARGE_BYTES = 256 * 1024  # of a buffer, which goes back to the system when it is freed
_UNFINISHED_AGE_S = 3_600.0  # no C-STORE writes for so long
_LONGEST_ACCEPT_S = 60.0
_LONGEST_DIGEST_S = 900.0  # of one object
_LONGEST_COMMITMENT_S = 6 * 3_600.0  # the largest request reads terabytes

_log = logs.get("scp")


def run(settings: Settings, stop: threading.Event) -> None:
    """The role: receive until told to stop, with as many processes as the settings say."""
    with opened_current(settings) as engine:  # closed before the fork: a connection is not for two processes
        look_over_files(Receiver.of(settings, engine, utc_now))
    _freeze_what_was_imported()
    _keep_no_freed_memory()
    port = open_port(settings)
    with siblings(settings.receive_processes - 1, partial(_receive_beside, settings, port), stop) as require_them:
        _receive_first(settings, port, require_them, stop)


def _receive_first(settings: Settings, port: Port, require_siblings: Callable[[], None], stop: threading.Event) -> None:
    """And do what is done once, however many receive."""
    pulse = Pulse()
    digested = partial(pulse.beat, "digests", longest_s=_LONGEST_DIGEST_S)
    with _receiving(settings, port, pulse, stop) as (receiver, server):
        digests = Digests(receiver)
        works = {
            "siblings": require_siblings,
            "digests": lambda: digests.fill(stop, digested),
            **lanes(Reporter(settings, receiver, server, stop)),
            "retention": Retention(settings, receiver, server.trail).go_round,
        }
        with beating("scp", receiver.sessions, pulse):
            together(settings.poll_interval_s, stop, works, partial(pulse.beat, longest_s=_LONGEST_COMMITMENT_S))


def _receive_beside(settings: Settings, port: Port, process: int, stop: threading.Event) -> None:
    """Raises Permanent when it is not well: nobody asks it how it is."""
    pulse = Pulse()

    def require_well() -> None:
        if fault := pulse.fault():
            raise Permanent(fault)

    with _receiving(settings, port.of(process), pulse, stop) as (receiver, server):
        works = {"health": require_well, **lanes(Reporter(settings, receiver, server, stop))}
        together(settings.poll_interval_s, stop, works, partial(pulse.beat, longest_s=_LONGEST_COMMITMENT_S))


@contextmanager
def _receiving(
    settings: Settings, port: Port, pulse: Pulse, stop: threading.Event
) -> Iterator[tuple[Receiver, Listener]]:
    engine = open_database(settings)
    lengthen_log(engine)
    receiver = Receiver.of(settings, engine, utc_now)
    with closing(take_over(engine, receiver.sessions, settings, utc_now(), Commitment)):
        server = start_server(settings, receiver, port)
        server.on_turn = partial(pulse.beat, "listener", longest_s=_LONGEST_ACCEPT_S)
        _log.info("listening", port=bound_port(server), pid=os.getpid())
        threading.Thread(target=_see_off, args=(server, stop), name="seeing-off", daemon=True).start()
        try:
            yield receiver, server
        finally:
            server.shutdown()


def _see_off(server: Listener, stop: threading.Event) -> None:
    """At once: what is told of commitments meanwhile may wait long for its peer."""
    stop.wait()
    server.see_off()


def _freeze_what_was_imported() -> None:
    """Leave it out of garbage collection, which then costs little and is done often."""
    gc.collect()
    gc.freeze()
    gc.collect()  # the interval grows with what the last collection found


def _keep_no_freed_memory() -> None:
    """glibc gives threads arenas of their own, and keeps what each once had: with many associations that adds up.

    It would keep large buffers, too, once it has seen one go.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none, and no arenas
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 2)
        mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)


def start_server(settings: Settings, receiver: Receiver, port: Port | None = None) -> Listener:
    """Serve in a thread of its own, on the port of the settings unless it is open already."""
    # Any storage class, also private and future ones: a refusal makes many a PACS fail the whole job.
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    _config.LOG_HANDLER_LEVEL = "none"
    intake = Intake(receiver)
    trail = AuditTrail(settings.audit_dir, settings.ae_title, receiver.clock)
    refusals, book = Refusals(trail), TransferBook(trail)
    handlers: list[evt.EventHandlerType] = [
        (evt.EVT_REQUESTED, make_doorkeeper(settings, receiver.store, refusals)),
        (evt.EVT_REQUESTED, negotiate_by_these_rules),
        (evt.EVT_C_STORE, make_store_handler(intake, book)),
        (evt.EVT_CONN_CLOSE, book.on_closed),
        (evt.EVT_N_ACTION, make_commitment_handler(receiver)),
        (evt.EVT_N_EVENT_REPORT, make_answer_handler(receiver.sessions, settings, receiver.clock)),
        *make_hint_handlers(settings.completeness, receiver),
    ]
    server = _make_ae(settings).make_server(
        (settings.host, settings.port),
        evt_handlers=handlers,
        server_class=Listener,
        port=port or open_port(settings),
        secure=RenewingContext(settings.tls, server_context).current if settings.tls else None,
        max_associations_per_s=settings.max_associations_per_s,
        trail=trail,
        refusals=refusals,
        request_handler=cast(Any, _request_handler(settings, intake, book)),
    )
    threading.Thread(target=server.serve_forever, name="listener", daemon=True).start()
    return cast(Listener, server)


def make_store_handler(intake: Intake, book: TransferBook) -> Callable[[Event], int]:
    """The handler of EVT_C_STORE: every object on the plain path; on the fast one, those without a data set."""

    def on_c_store(event: Event) -> int:
        status, kept = keep_whole(intake, event, calling_ae=event.assoc.requestor.ae_title.strip())
        if kept is not None:
            book.add(event.assoc, kept)
        return status

    return on_c_store


def _make_ae(settings: Settings) -> AE:
    ae = AE(ae_title=settings.ae_title)
    ae.maximum_associations = sys.maxsize  # the doorkeeper counts, and leaves out who has not asked yet
    ae.maximum_pdu_size = settings.max_pdu_bytes
    ae.acse_timeout = ACSE_TIMEOUT_S
    ae.dimse_timeout = ae.network_timeout = settings.network_timeout_s
    ae.add_supported_context(VERIFICATION, UNCOMPRESSED)
    # Both roles: who asks us is the SCU, who answers what we asked is the SCP (PS3.4 J.3.3.1.3).
    ae.add_supported_context(STORAGE_COMMITMENT, UNCOMPRESSED, scu_role=True, scp_role=True)
    for sop_class in hint_sop_classes(settings.completeness):
        ae.add_supported_context(sop_class, UNCOMPRESSED)
    return ae


def _request_handler(settings: Settings, intake: Intake, book: TransferBook) -> Callable[..., RequestHandler]:
    if settings.receive_path == "plain":
        return RequestHandler
    return partial(FastRequestHandler, intake=intake, book=book)


def look_over_files(receiver: Receiver) -> None:
    """Set aside what a crash cut short, and say how many whole files have no row.

    Those stay: they may have been acknowledged under a database that was since restored or replaced.
    """
    with receiver.sessions() as session:
        registered = registered_paths(session)
    found = receiver.store.look_over(registered, older_than=receiver.clock().timestamp() - _UNFINISHED_AGE_S)
    if found.cut_short:
        _log.info("unfinished_files_set_aside", count=found.cut_short)
    if found.whole:
        _log.warning("files_without_rows", count=found.whole)
