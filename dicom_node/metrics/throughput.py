"""Metrics of what came in and what moved, since the web role started."""

from collections.abc import ItemsView, Iterator
from datetime import datetime

from prometheus_client import Metric
from sqlmodel import Session, col

from dicom_node.metrics.families import counter
from dicom_node.metrics.tally import Sum, Tally
from dicom_node.models import Agreement, Delivery, FindingAgreement, Instance, Report, Transition

_MOVED = col(Transition.new) != col(Transition.old)  # not a mere remark


class Throughput:
    """For one scrape at a time."""

    def __init__(self) -> None:
        sender, at = col(Instance.calling_ae), col(Transition.at)
        self._objects = Tally(
            col(Instance.id), col(Instance.received_at), labels=[sender], measure=col(Instance.size_bytes)
        )
        self._drafts = Tally(col(Report.id), col(Report.created_at), measure=col(Report.seconds))
        kinds = [col(Transition.row_kind), col(Transition.new)]
        self._moves = Tally(col(Transition.id), at, labels=kinds, where=[_MOVED])
        is_of_delivery = (col(Transition.row_kind) == "delivery") & (col(Transition.row_id) == col(Delivery.id))
        destinations = [col(Delivery.destination), col(Delivery.kind), col(Transition.new)]
        self._deliveries = Tally(col(Transition.id), at, labels=destinations, where=[_MOVED, is_of_delivery])
        compared, compared_at = col(Agreement.id), col(Agreement.compared_at)
        self._compared = Tally(compared, compared_at)
        outcomes, is_of = [col(FindingAgreement.finding), col(FindingAgreement.outcome)], FindingAgreement.agreement_id
        self._findings = Tally(compared, compared_at, labels=outcomes, where=[col(is_of) == compared])

    def look(self, session: Session, now: datetime) -> Iterator[Metric]:
        objects = self._objects.look(session, now)
        counts, sizes = _counts(objects.items()), [(labels, found.total) for labels, found in objects.items()]
        yield counter("objects_received", "Objects kept, by sender.", ("calling_ae",), counts)
        yield counter("received_bytes", "Size of the objects kept.", ("calling_ae",), sizes)
        drafts = self._drafts.look(session, now).get((), Sum())
        yield counter("drafts", "Drafts stored.", (), [((), drafts.count)])
        yield counter("draft_seconds", "What the model took for them.", (), [((), drafts.total)])
        moves = _counts(self._moves.look(session, now).items())
        yield counter("moves", "Rows that came into a state.", ("row", "state"), moves)
        deliveries = _counts(self._deliveries.look(session, now).items())
        labels = ("destination", "kind", "state")
        yield counter("delivery_moves", "Deliveries that came into a state.", labels, deliveries)
        yield from self._agreement(session, now)

    def _agreement(self, session: Session, now: datetime) -> Iterator[Metric]:
        """What is compared anew, after a correction, counts again."""
        compared = self._compared.look(session, now).get((), Sum())
        yield counter("drafts_compared", "Drafts compared with the signed report.", (), [((), compared.count)])
        findings = _counts(self._findings.look(session, now).items())
        words = "Findings that draft or signed report name, by what came of it."
        yield counter("findings_compared", words, ("finding", "outcome"), findings)


def _counts(sums: ItemsView[tuple[str, ...], Sum]) -> list[tuple[tuple[str, ...], float]]:
    return [(labels, found.count) for labels, found in sums]
