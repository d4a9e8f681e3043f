"""What Prometheus is told, read from the rows when it asks. No patient and no UID: states, names and numbers.

What waits is a gauge; what has ended is a counter, because counting all of it each time would read whole tables.
"""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.registry import Collector

from dicom_node.clock import Clock
from dicom_node.config import Settings
from dicom_node.database import Sessions
from dicom_node.metrics import node, waiting
from dicom_node.metrics.throughput import Throughput


class NodeCollector(Collector):
    """For one scrape at a time."""

    def __init__(self, settings: Settings, sessions: Sessions, clock: Clock) -> None:
        self._settings = settings
        self._sessions = sessions
        self._clock = clock
        self._throughput = Throughput()

    def collect(self) -> Iterator[Metric]:
        """Raises SQLAlchemyError when the database is away."""
        now = self._clock()
        yield from node.build()
        yield from node.disk(self._settings)
        yield from node.certificates(self._settings, now)
        yield from node.rules(self._settings)
        with self._sessions() as session:
            yield from node.roles(session, self._settings, now)
            yield from waiting.studies(session, now)
            yield from waiting.jobs(session, now)
            yield from waiting.deliveries(session, self._settings, now)
            yield from waiting.failures(session, now)
            yield from waiting.audit(session, self._settings, now)
            yield from self._throughput.look(session, now)
