"""Steps as OpenTelemetry spans, sent by OTLP over HTTP. Needs the extra `otel`: imported where traces are wanted alone.

A trace is a study, a span a step. Their ids are derived from the rows: sent again, they are the same spans.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from dicom_node.errors import PeerUnreachable
from dicom_node.models import Study
from dicom_node.product import software_version
from dicom_node.tracing.steps import RECEIVE, Step

_TIMEOUT_S = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCOPE = InstrumentationScope("dicom_node")


class Exporter:
    """To one collector."""

    def __init__(self, endpoint: str, node: str) -> None:
        """node: its AE title."""
        self._exporter = OTLPSpanExporter(endpoint=endpoint, timeout=_TIMEOUT_S)
        named = {"service.name": "dicom-node", "service.version": software_version(), "service.instance.id": node}
        self._resource = Resource(named)
        self._node = node

    def send(self, steps: Sequence[Step]) -> None:
        """Raises PeerUnreachable unless the collector has them."""
        spans = [self._span(step) for step in steps]
        if self._exporter.export(spans) is not SpanExportResult.SUCCESS:
            raise PeerUnreachable("the collector of traces did not take them")

    def _span(self, step: Step) -> ReadableSpan:
        root = self._context(step.study, RECEIVE, step.revision)
        is_root = step.name == RECEIVE
        return ReadableSpan(
            step.name,
            context=root if is_root else self._context(step.study, step.name, step.number),
            parent=None if is_root else root,
            resource=self._resource,
            attributes={"study": step.study.id or 0, "revision": step.revision, **step.facts},
            kind=SpanKind.INTERNAL,
            instrumentation_scope=_SCOPE,
            status=Status(StatusCode.ERROR if step.is_failed else StatusCode.OK),
            start_time=_nanoseconds(step.began_at),
            end_time=_nanoseconds(step.ended_at),
        )

    def _context(self, study: Study, name: str, number: int) -> SpanContext:
        """Of nothing that names a patient: not even the digest of a UID."""
        trace = f"{self._node}/{study.id}/{study.created_at.isoformat()}"
        ids = (_digest(trace, 16), _digest(f"{trace}/{name}/{number}", 8))
        return SpanContext(*ids, is_remote=False, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _digest(text: str, octets: int) -> int:
    return int.from_bytes(sha256(text.encode()).digest()[:octets], "big")


def _nanoseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
