"""Studies from one source to this node: what is asked for, what is sent, and the rows that remember both."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from zoneinfo import ZoneInfo

from pynetdicom.association import Association

from dicom_node import logs
from dicom_node.audit import AuditTrail
from dicom_node.backoff import next_due
from dicom_node.config import Settings
from dicom_node.database import AWAY
from dicom_node.errors import NodeError, Permanent, Transient
from dicom_node.lifecycle import advance, put_back
from dicom_node.models import Pull
from dicom_node.peers import DicomSource, PullRule
from dicom_node.pull import ledger
from dicom_node.pull.association import associated, limited
from dicom_node.pull.priors import LONGEST_SEARCH_S, newest_prior, read_current_study
from dicom_node.pull.query import Ask, FoundStudy, find
from dicom_node.pull.retrieve import LONGEST_RETRIEVAL_S, retrieve
from dicom_node.pull.rules import studies_by_rule
from dicom_node.receive.intake import Intake, Receiver
from dicom_node.rounds import persist
from dicom_node.states import PullState

LONGEST_PULL_S = LONGEST_SEARCH_S + LONGEST_RETRIEVAL_S  # of a prior, which is looked for first
_TIMEOUTS_PER_PULL = 4  # for the last answers and the release
_LEASE_MARGIN_S = 60.0

_log = logs.get("puller")


@dataclass(frozen=True)
class Puller:
    """What pulling from one source needs."""

    source: DicomSource
    settings: Settings
    receiver: Receiver
    intake: Intake
    trail: AuditTrail
    stop: threading.Event = field(default_factory=threading.Event)  # set: do not wait for a database that is away

    @contextmanager
    def asking(self) -> Iterator[Ask]:
        """Questions on one association. Raises PeerUnreachable, PeerRejected."""
        with self._associated() as assoc:
            yield partial(find, assoc, self.source)

    def poll(self) -> int:
        """Remember what is to be pulled: what the rules name, and priors. Returns how many studies that are.

        Raises PeerUnreachable, PeerBusy or PeerRejected where the source does not answer; it has been asked by the
        other rules then, too.
        """
        count = self._remember_priors() if self.source.fetch_priors else 0
        failures: list[NodeError] = []
        for rule in self.source.rules:
            try:
                count += self._poll_rule(rule)
            except NodeError as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return count

    def _poll_rule(self, rule: PullRule) -> int:
        """On an association of its own: a source may abort it at a query that it does not like."""
        today = self.receiver.clock().astimezone(ZoneInfo(self.settings.time_zone)).date()
        with self.asking() as ask:
            found = studies_by_rule(ask, rule, today)
        with self.receiver.sessions.begin() as session:
            return ledger.remember(session, self.source.name, found, self.receiver.clock())

    def pull_due(self) -> bool:
        """Pull the study that has been due longest. False: none is. Raises PeerUnreachable, PeerRejected.

        The association comes first, so that no row is touched while the source is away.
        """
        name, sessions, clock = self.source.name, self.receiver.sessions, self.receiver.clock
        with sessions() as session:
            if not ledger.is_due(session, name, clock()):
                return False
        with self._associated() as assoc:
            with sessions.begin() as session:
                row = ledger.take_due(session, name, now=clock(), lease_s=self._lease_s)
            if row is not None:
                self._pull(assoc, row)
        return row is not None

    def pull_now(self, study: FoundStudy) -> Pull:
        """Pull a study that an operator asks for; the row says what became of it.

        Raises PeerUnreachable, PeerRejected, and Permanent where it is being pulled already.
        """
        with self._associated() as assoc:
            with self.receiver.sessions.begin() as session:
                now = self.receiver.clock()
                row = ledger.take(session, self.source.name, study, now=now, lease_s=self._lease_s)
            if row is None:
                raise Permanent("the study is being pulled at this moment")
            return self._pull(assoc, row)

    @contextmanager
    def _associated(self) -> Iterator[Association]:
        with associated(self.source, self.intake, trail=self.trail, calling_ae=self.settings.ae_title) as assoc:
            yield assoc

    @property
    def _lease_s(self) -> float:
        """Longer than a pull can last."""
        return LONGEST_PULL_S + self.source.timeout_s * _TIMEOUTS_PER_PULL + _LEASE_MARGIN_S

    def _remember_priors(self) -> int:
        with self.receiver.sessions.begin() as session:
            return ledger.remember_priors(session, self.source.name, self.receiver.clock())

    def _pull(self, assoc: Association, row: Pull) -> Pull:
        """Have a claimed study sent. A catcher: whatever happens ends in a state of the row, which is returned."""
        state, words = PullState.PENDING, ""
        try:
            state, words = PullState.DONE, self._retrieve(assoc, row)
        except Transient as error:
            words = str(error)
        except (OSError, *AWAY) as error:
            words = f"the database or the disk was away ({type(error).__name__})"
        except NodeError as error:
            state, words = PullState.FAILED, str(error)
        except KeyboardInterrupt:  # of the command. Not released: a source that is sending would not hear of it
            self._settle(row, state, "the operator broke it off")
            assoc.abort()
            raise
        except Exception as error:  # noqa: BLE001  unknown: a person must look
            _log.error("pull_impossible", pull=row.id, source=self.source.name, trace=logs.places(error))
            state, words = PullState.FAILED, f"unexpected {type(error).__name__}: see the log"
        say = _log.info if state == PullState.DONE else _log.warning
        say("pull_ended", pull=row.id, source=self.source.name, attempt=row.attempts, state=state, reason=words)
        return persist(self.stop, partial(self._settle, row, state, words))

    def _retrieve(self, assoc: Association, row: Pull) -> str:
        """What came, in words."""
        uid = row.study_instance_uid
        if not uid:
            found = self._newest_prior(assoc, row)
            if found is None:
                return "no earlier chest radiograph there"
            uid = found
            with self.receiver.sessions.begin() as session:
                if not ledger.note_prior(session, row, uid):
                    return "it is here already"
        is_here = partial(self._is_here, uid)
        return retrieve(assoc, self.source, uid, destination_ae=self.settings.ae_title, is_here=is_here)

    def _is_here(self, study_instance_uid: str) -> bool:
        with self.receiver.sessions() as session:
            return ledger.is_here(session, study_instance_uid)

    def _newest_prior(self, assoc: Association, row: Pull) -> str | None:
        with self.receiver.sessions() as session:
            path = ledger.drafted_file(session, row)
        study = read_current_study(self.receiver.store.open(path))
        with limited(assoc, LONGEST_SEARCH_S):
            return newest_prior(partial(find, assoc, self.source), study)

    def _settle(self, row: Pull, state: PullState, words: str) -> Pull:
        now, settings = self.receiver.clock(), self.settings
        with self.receiver.sessions.begin() as session:
            row = session.merge(row, load=False)  # not add: a rollback would expire the claimed row
            if state != PullState.PENDING:
                advance(session, row, state, now=now, reason=words)
                return row
            due_at = next_due(row.attempts, now, first_s=settings.retry_after_s, longest_s=settings.max_retry_after_s)
            put_back(session, row, now=now, due_at=due_at, max_attempts=Pull.MOST_ATTEMPTS, reason=words)
            return row
