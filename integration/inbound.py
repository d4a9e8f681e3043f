"""The hl7 role: takes orders, patient updates and final reports over MLLP and remembers them before it says so."""

import asyncio
import socket
import threading
from contextlib import AbstractAsyncContextManager, nullcontext

from dicom_node import logs
from dicom_node.addresses import is_admitted
from dicom_node.audit import AuditTrail
from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import Sessions, open_current
from dicom_node.errors import Permanent
from dicom_node.heartbeat import beating_loop
from dicom_node.receive.refusals import Refusals
from dicom_node.tls import RenewingContext, server_context
from integration.group_queue import GroupQueue
from integration.hl7_charset import codec_of
from integration.message_intake import MessageIntake
from integration.mllp_conversation import Limits
from integration.mllp_listener import Door, MllpListener

_BACKLOG = 1024

_log = logs.get("hl7")


def run(settings: Settings, stop: threading.Event) -> None:
    """The role: take messages until told to stop."""
    if settings.hl7_port is None:
        raise Permanent("hl7_port is not set: there is no port to listen at")
    engine = open_current(settings)
    sessions = Sessions(engine)
    intake = MessageIntake(settings, sessions, utc_now)
    trail = AuditTrail(settings.audit_dir, settings.ae_title, utc_now)
    trail.started()
    with listen(settings.hl7_host, settings.hl7_port) as listening:
        _log.info("listening", port=listening.getsockname()[1])
        alive = beating_loop("hl7", sessions)
        serve(settings, intake, Refusals(trail), listening=listening, stop=stop, alive=alive)
    trail.stopped()


def listen(host: str, port: int) -> socket.socket:
    """Bind the port. Raises Permanent if that cannot be."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise Permanent(f"HL7 port {port} cannot be bound: {error.strerror}") from error
    listening.setblocking(False)
    return listening


def serve(
    settings: Settings,
    intake: MessageIntake,
    refusals: Refusals,
    *,
    listening: socket.socket,
    stop: threading.Event,
    limits: Limits = Limits(),
    alive: AbstractAsyncContextManager[None] = nullcontext(),
) -> None:
    """Answer until told to stop, inside of `alive`.

    Raises Permanent for a character set that is unknown or TLS files that are none.
    """
    if codec_of(settings.hl7_character_set) is None:
        raise Permanent("hl7_character_set is not a term of HL7 table 0211")
    door = Door(
        admits=lambda address: is_admitted(address, settings.hl7_senders),
        secure=RenewingContext(settings.hl7_tls, server_context).current if settings.hl7_tls else None,
        refusals=refusals,
    )
    listener = MllpListener(door, GroupQueue(intake.take), limits)

    async def listen_on() -> None:
        async with alive:
            await listener.serve(listening, stop)

    asyncio.run(listen_on())
