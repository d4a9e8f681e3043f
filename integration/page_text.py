"""What a page for eyes says: patient and study, the warnings, the draft, who wrote it. Nothing about how it looks."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, time

from dicom_node.product import SYNTHETIC, software_version
from integration.document import ReportDocument
from integration.report_text import check_lines, split_lines
from integration.source_header import SourceHeader
from integration.sr_header import drafted_locally

BANNER = "AI DRAFT, NOT REVIEWED"
_LEFT_TO_RIGHT = "\u200e"  # else a name from right to left would turn the line round
_NOT_STATED = "not stated"
Fact = tuple[str, str]  # label, value


@dataclass(frozen=True)
class Section:
    heading: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class PageText:
    banner: str  # stands on every page
    patient: str  # one line that stands on every page
    facts: tuple[Fact, ...]  # of patient and study; no value is empty
    warning: tuple[str, ...]  # before everything else
    sections: tuple[Section, ...]
    origin: str  # stands on every page: which model, which software

    def texts(self) -> Iterator[str]:
        """All that is drawn."""
        yield from (self.banner, self.patient, self.origin, *self.warning)
        for fact in self.facts:
            yield from fact
        for section in self.sections:
            yield from (section.heading, *section.lines)


def write_page(document: ReportDocument) -> PageText:
    source = SourceHeader.of(document.evidence)
    model = document.model
    return PageText(
        banner=banner(document),
        patient=_LEFT_TO_RIGHT + " · ".join(value for _, value in _facts(document, source)[:5]),
        facts=_facts(document, source),
        warning=_paragraphs(document.opening),
        sections=tuple(section for section in _sections(document) if section.lines),
        origin=f"{model.name} {model.version} · {model.digest[:16]} · dicom-node {software_version()}",
    )


def banner(document: ReportDocument) -> str:
    return f"{SYNTHETIC}: {BANNER}" if document.model.is_synthetic else BANNER


def _sections(document: ReportDocument) -> tuple[Section, ...]:
    model = document.model
    return (
        Section("What to check", check_lines(document.flags)),
        Section("Indication", _paragraphs(document.indication)),
        Section("Findings (draft)", _paragraphs(document.findings)),
        Section("Written by", (f"{model.name}, version {model.version}", _in_groups(model.digest))),
    )


def _facts(document: ReportDocument, source: SourceHeader) -> tuple[Fact, ...]:
    facts = (
        ("Patient", _name(source.text("PatientName")) or _NOT_STATED),
        ("Patient ID", _patient_id(source) or _NOT_STATED),
        ("Born", _day(source.text("PatientBirthDate"))),
        ("Study", f"{_day(source.text('StudyDate'))} {_clock(source.text('StudyTime'))}".strip()),
        ("Accession number", source.text("AccessionNumber") or document.order.accession),
        ("Sex", source.text("PatientSex")),
        ("Procedure", source.text("StudyDescription")),
        ("Drafted", f"{drafted_locally(document):%Y-%m-%d %H:%M %z}, revision {document.revision}"),
    )
    return tuple((label, value) for label, value in facts if value)


def _patient_id(source: SourceHeader) -> str:
    identifier, issuer = source.text("PatientID"), source.text("IssuerOfPatientID")
    return f"{identifier} ({issuer})" if identifier and issuer else identifier


def _name(value: str) -> str:
    """value: PN. Family name first, the groups of other scripts after a bar. Source: PS3.5 6.2.1."""
    groups = [", ".join(filter(None, _family_and_given(group))) for group in value.split("=")]
    return " | ".join(filter(None, groups))


def _family_and_given(group: str) -> tuple[str, str]:
    family, *others = (part.strip() for part in group.split("^"))
    return family, " ".join(filter(None, others))


def _day(value: str) -> str:
    return date.fromisoformat(value).isoformat() if value else ""


def _clock(value: str) -> str:
    """value: TM, checked by SourceHeader."""
    return time.fromisoformat(value[:4]).isoformat("minutes") if len(value) >= 4 else ""


def _in_groups(digest: str) -> str:
    """With spaces, so that it can be wrapped."""
    return "SHA-256 " + " ".join(digest[at : at + 16] for at in range(0, len(digest), 16))


def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(filter(None, split_lines(text)))
