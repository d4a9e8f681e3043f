"""STOW-RS (PS3.18 10.5) on the promise of C-STORE: an instance is reported as stored when file and row are durable."""

import time
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from typing import NamedTuple, TypeVar

from anyio import CancelScope, CapacityLimiter, fail_after, to_thread
from fastapi import APIRouter, HTTPException, Request, Response
from starlette.requests import ClientDisconnect

from dicom_node import logs
from dicom_node.audit import AuditTrail
from dicom_node.audit_messages import Sender
from dicom_node.config import Settings
from dicom_node.errors import StorageFull
from dicom_node.receive.intake import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, SUCCESS, Intake, Receiver
from dicom_node.receive.refusals import Refusals
from dicom_node.receive.transfers import Transfers
from dicom_node.uids import is_uid
from dicom_node.web.access import HAS_CERTIFICATE, RETRY_AFTER, Doorkeeper
from dicom_node.web.caller import caller_of
from dicom_node.web.multipart import BadMultipart
from dicom_node.web.negotiation import answer_type, boundary_of
from dicom_node.web.store_response import SERVICE_UNAVAILABLE, encode, http_status
from dicom_node.web.upload import Outcome, TooManyParts, Upload

Returned = TypeVar("Returned")

_log = logs.get("stow")


class _Fault(NamedTuple):
    """Why a body was not taken to its end."""

    http_status: int
    reason: int  # (0008,1197) of what was not received
    sentence: str


def make_router(settings: Settings, receiver: Receiver, trail: AuditTrail) -> APIRouter:
    """The resources that take instances: /dicom-web/studies and /dicom-web/studies/{study}."""
    studies = _Studies(settings, receiver, trail)
    router = APIRouter(prefix="/dicom-web")
    router.post("/studies")(studies.store)
    router.post("/studies/{study}")(studies.store)
    return router


class _Studies:
    """All requests share one intake, so that their rows are committed in groups. Its work is done in threads."""

    def __init__(self, settings: Settings, receiver: Receiver, trail: AuditTrail) -> None:
        self._settings = settings
        self._doorkeeper = Doorkeeper(settings, Refusals(trail))
        self._trail = trail
        self._store = receiver.store
        self._intake = Intake(receiver)
        self._threads = CapacityLimiter(settings.max_associations)

    async def store(self, request: Request) -> Response:
        """PS3.18 10.5.1. Raises HTTPException for what is refused as a whole."""
        address = caller_of(self._settings, request)
        has_certificate = request.scope["state"][HAS_CERTIFICATE]
        sender = self._doorkeeper.sender_of(
            request.headers, address, http_version=request.scope["http_version"], has_certificate=has_certificate
        )
        media_type = answer_type(request.headers.get("accept", "*/*"))
        boundary = boundary_of(request.headers)
        study = request.path_params.get("study", "")
        if study and not is_uid(study):
            raise HTTPException(400, "expected a Study Instance UID in the address")
        with self._doorkeeper.place(sender, address):
            await self._require_room(int(request.headers.get("content-length", 0)))
            transfers = Transfers(partial(self._trail.transferred, Sender(address, sender)))
            upload = Upload(self._intake, transfers, calling_ae=sender, boundary=boundary, study_instance_uid=study)
            began = time.monotonic()
            fault = await self._receive(request, upload)
            transfers.tell()
            seconds = round(time.monotonic() - began, 4)
            _log.debug("upload_ended", calling_ae=sender, count=len(upload.outcomes), seconds=seconds)
            return await self._answer(upload.outcomes, fault, media_type=media_type)

    async def _require_room(self, size: int) -> None:
        try:
            await self._in_thread(partial(self._store.require_room, size))
        except StorageFull as error:
            raise HTTPException(503, "there is no room for this now", RETRY_AFTER) from error

    async def _receive(self, request: Request, upload: Upload) -> _Fault | None:
        """Take the body as far as it comes; what was stored stays stored."""
        try:
            await self._take(request, upload)
        except BadMultipart as error:
            return _Fault(400, CANNOT_UNDERSTAND, str(error))
        except TooManyParts as error:
            return _Fault(413, OUT_OF_RESOURCES, str(error))
        except TimeoutError:
            return _Fault(408, OUT_OF_RESOURCES, "nothing came for too long")
        except ClientDisconnect:
            return _Fault(400, OUT_OF_RESOURCES, "the sender hung up")
        finally:
            with CancelScope(shield=True):
                await self._in_thread(upload.discard)
        return None

    async def _take(self, request: Request, upload: Upload) -> None:
        async with aclosing(request.stream()) as body:
            while True:
                with fail_after(self._settings.network_timeout_s):
                    chunk = await anext(body, b"")
                if not chunk:
                    break
                await self._in_thread(partial(upload.take, chunk))
        if not upload.is_complete or not upload.outcomes:
            raise BadMultipart("the body ends without its last delimiter, or has no part")

    async def _answer(self, outcomes: list[Outcome], fault: _Fault | None, *, media_type: str) -> Response:
        if fault is not None:
            _log.warning("upload_cut_short", status=str(fault.http_status), reason=fault.sentence)
            if not any(outcome.status == SUCCESS for outcome in outcomes):
                raise HTTPException(fault.http_status, fault.sentence)
            outcomes = [*outcomes, Outcome(fault.reason, announced=None)]
        status = http_status(outcomes)
        content = await self._in_thread(partial(encode, outcomes, media_type))
        return Response(content, status, RETRY_AFTER if status == SERVICE_UNAVAILABLE else None, media_type)

    async def _in_thread(self, work: Callable[[], Returned]) -> Returned:
        return await to_thread.run_sync(work, limiter=self._threads)
