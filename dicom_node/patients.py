"""Who is the same person: identifiers that agree, directly or by a merge that the RIS has told of."""

import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from sqlmodel import Session, col, or_, select

from dicom_node.models import PatientMerge, Study


@dataclass(frozen=True)
class Identifier:
    """A patient identifier: CX.1 and CX.4, or (0010,0020) and its issuer (0010,0021)."""

    id_number: str
    authorities: frozenset[str] = frozenset()  # names of who assigned it, casefolded: namespace, universal ID

    @classmethod
    def of(cls, id_number: str, *authorities: str) -> "Identifier":
        return cls(id_number, frozenset(name.casefold() for name in authorities if name))

    def agrees(self, other: "Identifier") -> bool:
        """The same number, and not assigned by two different authorities."""
        is_same_number = self.id_number == other.id_number != ""
        differ = self.authorities and other.authorities and self.authorities.isdisjoint(other.authorities)
        return is_same_number and not differ

    def is_of_the_authority_of(self, other: "Identifier") -> bool:
        """Also where neither names one."""
        return self.authorities == other.authorities or not self.authorities.isdisjoint(other.authorities)

    def beside(self, other: "Identifier") -> "Identifier":
        """As it is meant in one breath with the other: whoever names no authority means the other's."""
        return self if self.authorities else Identifier(self.id_number, other.authorities)


Identifiers = Collection[Identifier]


def patient_of(study: Study) -> tuple[Identifier, ...]:
    """As its drafted image names it; empty where that has no Patient ID, or none was drafted yet."""
    return (Identifier.of(study.patient_id, study.issuer_of_patient_id),) if study.patient_id else ()


def identifiers_to_json(identifiers: Iterable[Identifier]) -> str:
    """For a database column; `identifiers_from_json` gives the same identifiers back."""
    return json.dumps([[each.id_number, *sorted(each.authorities)] for each in identifiers], ensure_ascii=False)


def identifiers_from_json(stored: str) -> list[Identifier]:
    return [Identifier.of(*each) for each in json.loads(stored)]


def agree(some: Identifiers, others: Identifiers) -> bool:
    return any(one.agrees(other) for one in some for other in others)


def is_same_person(session: Session, some: Identifiers, others: Identifiers) -> bool:
    """Whether any two agree, as they are or after merges."""
    return agree(some, others) or agree(all_identifiers(session, some), others)


def all_identifiers(session: Session, known: Identifiers) -> list[Identifier]:
    """The known identifiers and all that were merged with them, before or after."""
    found, looked_up = list(known), 0
    while looked_up < len(found):
        one, looked_up = found[looked_up], looked_up + 1
        found += [each for each in _merged_with(session, one) if each not in found]
    return found


def _merged_with(session: Session, one: Identifier) -> list[Identifier]:
    """A merge without authorities is read as one of the identifier's: else it would join two sites that count alike."""
    named = or_(col(PatientMerge.prior_id) == one.id_number, col(PatientMerge.surviving_id) == one.id_number)
    pairs = [identifiers_from_json(row.identifiers) for row in session.exec(select(PatientMerge).where(named))]
    return [each.beside(one) for pair in pairs if agree([one], pair) for each in pair]
