"""The web role: the page, DICOMweb STOW-RS, and whether the node is well."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from dicom_node import logs
from dicom_node.audit import AuditTrail
from dicom_node.clock import utc_now
from dicom_node.config import Settings
from dicom_node.database import open_current
from dicom_node.metrics import route as metrics
from dicom_node.notify.telling import telling
from dicom_node.receive.intake import Receiver
from dicom_node.web import health, site, stow
from dicom_node.web.naming import naming
from dicom_node.web.page import Page
from dicom_node.web.server import listen, serve

_log = logs.get("web")


def run(settings: Settings, stop: threading.Event) -> None:
    """The role: answer requests until told to stop."""
    engine = open_current(settings)
    app = make_app(settings, Receiver.of(settings, engine, utc_now))
    with listen(settings) as listening:
        _log.info("listening", port=listening.getsockname()[1])
        serve(app, settings, listening=listening, stop=stop)


def make_app(settings: Settings, receiver: Receiver) -> FastAPI:
    """Without FastAPI's own pages: they load scripts from elsewhere."""
    trail = AuditTrail(settings.audit_dir, settings.ae_title, receiver.clock)

    @asynccontextmanager
    async def audited(_: FastAPI) -> AsyncIterator[None]:
        trail.started()
        with naming(receiver, settings.poll_interval_s), telling(settings, receiver.sessions):
            yield
        await to_thread.run_sync(trail.stopped)

    app = FastAPI(title="dicom-node", docs_url=None, redoc_url=None, openapi_url=None, lifespan=audited)
    app.include_router(stow.make_router(settings, receiver, trail))
    app.include_router(health.make_router(receiver))
    app.include_router(metrics.make_router(settings, receiver, trail))
    site.add_to(app, Page.of(settings, receiver, trail))
    return app
