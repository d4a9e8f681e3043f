"""The Storage SCP: C-STORE answers 0x0000 after the file is fsynced and its row committed (PS3.4 B.2.3)."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import cast

from pydicom.uid import DeflatedExplicitVRLittleEndian
from pynetdicom import AE, _config, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from sqlalchemy.exc import SQLAlchemyError

from dicom_node import logs, tls
from dicom_node.clock import Clock, utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions, make_sessions, open_database, require_current_schema
from dicom_node.errors import InvalidHeader, OutsideStudy, StorageFull
from dicom_node.receive.admission import make_doorkeeper
from dicom_node.receive.catalog import find_instance, register, registered_paths
from dicom_node.receive.header import InstanceHeader, read_header, refuse_deflate_bomb
from dicom_node.receive.listener import Listener, bound_port
from dicom_node.storage import InstanceStore, digest

VERIFICATION = "1.2.840.10008.1.1"  # PS3.4 A.4

# PS3.4 table B.2-1, PS3.7 annex C
SUCCESS = 0x0000
OUT_OF_RESOURCES = 0xA700
DATA_SET_DOES_NOT_MATCH_SOP_CLASS = 0xA900
CANNOT_UNDERSTAND = 0xC000
UNEXPECTED = 0xC001  # a fault of ours: the sender keeps the object, the log has the place

_ACSE_TIMEOUT_S = 30
_UNFINISHED_AGE_S = 3_600.0  # no C-STORE writes for so long

_log = logs.get("scp")


@dataclass(frozen=True)
class Receiver:
    """What a C-STORE needs beside the object itself."""

    store: InstanceStore
    sessions: Sessions
    clock: Clock


def run(settings: Settings, stop: threading.Event) -> None:
    """The role: receive until told to stop."""
    engine = open_database(settings)
    require_current_schema(engine)
    store = InstanceStore(settings.instances_dir, min_free_bytes=settings.min_free_bytes)
    receiver = Receiver(store, make_sessions(engine), utc_now)
    look_over_files(receiver)
    server = start_server(settings, receiver)
    _log.info("listening", port=bound_port(server))
    stop.wait()
    server.shutdown()


def start_server(settings: Settings, receiver: Receiver) -> Listener:
    """Bind the port and serve in a thread of its own."""
    # Any storage class, also private and future ones: a refusal makes many a PACS fail the whole job.
    _config.UNRESTRICTED_STORAGE_SERVICE = True
    _config.LOG_HANDLER_LEVEL = "none"
    ae = AE(ae_title=settings.ae_title)
    ae.require_called_aet = True
    ae.maximum_associations = settings.max_associations
    ae.maximum_pdu_size = settings.max_pdu_bytes
    ae.acse_timeout = _ACSE_TIMEOUT_S
    ae.dimse_timeout = ae.network_timeout = settings.network_timeout_s
    ae.add_supported_context(VERIFICATION)
    handlers: list[evt.EventHandlerType] = [
        (evt.EVT_REQUESTED, make_doorkeeper(settings)),
        (evt.EVT_C_STORE, make_store_handler(receiver)),
    ]
    context = tls.server_context(settings.tls) if settings.tls else None
    server = ae.make_server(
        (settings.host, settings.port), ssl_context=context, evt_handlers=handlers, server_class=Listener
    )
    threading.Thread(target=server.serve_forever, name="listener", daemon=True).start()
    return cast(Listener, server)


def make_store_handler(receiver: Receiver) -> Callable[[Event], int]:
    """The handler of EVT_C_STORE, the only place that turns errors into DIMSE statuses."""

    def on_c_store(event: Event) -> int:
        started = time.monotonic()
        try:
            status = _store(receiver, event)
        except OutsideStudy as error:
            status = _refuse(event, DATA_SET_DOES_NOT_MATCH_SOP_CLASS, error)
        except InvalidHeader as error:
            status = _refuse(event, CANNOT_UNDERSTAND, error)
        except (StorageFull, SQLAlchemyError) as error:
            status = _refuse(event, OUT_OF_RESOURCES, error)
        except Exception as error:  # noqa: BLE001  one of the three catchers: the peer must get an answer
            status = _refuse(event, UNEXPECTED, error)
        _log.debug("c_store", status=f"{status:04X}", seconds=round(time.monotonic() - started, 4))
        return status

    return on_c_store


def look_over_files(receiver: Receiver) -> None:
    """Throw away what a crash cut short, and say how many whole files have no row.

    Those stay: they may have been acknowledged under a database that was since restored or replaced.
    """
    discarded = receiver.store.discard_unfinished(older_than=receiver.clock().timestamp() - _UNFINISHED_AGE_S)
    if discarded:
        _log.info("unfinished_files_discarded", count=discarded)
    with receiver.sessions() as session:
        registered = registered_paths(session)
    without_row = sum(path not in registered for path in receiver.store.paths())
    if without_row:
        _log.warning("files_without_rows", count=without_row)


def _store(receiver: Receiver, event: Event) -> int:
    request = cast(C_STORE, event.request)
    data_set = event.encoded_dataset(include_meta=False)
    if event.context.transfer_syntax == DeflatedExplicitVRLittleEndian:
        refuse_deflate_bomb(data_set)
    sha256 = digest(data_set)
    part10 = event.encoded_dataset()
    header = read_header(BytesIO(part10))
    if not _matches(header, request):
        _log.warning("object_refused", calling_ae=_calling_ae(event), status=f"{DATA_SET_DOES_NOT_MATCH_SOP_CLASS:04X}")
        return DATA_SET_DOES_NOT_MATCH_SOP_CLASS
    with receiver.sessions() as session:
        if find_instance(session, header.sop_instance_uid, sha256):
            return SUCCESS  # the same bytes are safe already
    stored = receiver.store.put(part10, sha256)
    with receiver.sessions.begin() as session:
        instance = register(session, header, stored, calling_ae=_calling_ae(event), now=receiver.clock())
    _log.info("instance_stored", instance=instance.id, bytes=len(part10), calling_ae=_calling_ae(event))
    return SUCCESS


def _matches(header: InstanceHeader, request: C_STORE) -> bool:
    """The data set is what the command announced."""
    announced = (request.AffectedSOPClassUID, request.AffectedSOPInstanceUID)
    return (header.sop_class_uid, header.sop_instance_uid) == tuple(str(uid) for uid in announced)


def _calling_ae(event: Event) -> str:
    return event.assoc.requestor.ae_title.strip()


def _refuse(event: Event, status: int, error: Exception) -> int:
    _log.warning("object_refused", calling_ae=_calling_ae(event), status=f"{status:04X}", trace=logs.places(error))
    return status
