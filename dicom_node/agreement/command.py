"""`dicom-node agreement`: how drafts agree with what radiologists signed."""

from dataclasses import asdict
from datetime import date
from functools import partial
from zoneinfo import ZoneInfo

from rich.table import Table
from sqlmodel import Session

from dicom_node.agreement.figures import OUTCOMES, Counts, Figures, Sample, Wanted, compared_models, read_figures
from dicom_node.commands.terminal import print_json, read_rows, say, show
from dicom_node.config import Settings
from dicom_node.errors import Permanent
from dicom_node.product import SYNTHETIC
from dicom_node.shares import Median, Share

_HEADS = ("named by either", "agreed", "side differs", "missed by the draft", "added by the draft", "other denies it")


def run(since: date | None, model: str, *, as_json: bool) -> None:
    """Print the figures of these drafts, see `Wanted`. Raises Permanent for a model of which none was compared."""
    figures = read_rows(partial(_read, wanted=Wanted(since, model), zone=ZoneInfo(Settings().time_zone)))
    if as_json:
        print_json(_as_json(figures))
        return
    say(_summary(figures.sample))
    if figures.sample.studies:
        show(_finding_table(figures))
        show(_period_table(figures))


def _read(session: Session, wanted: Wanted, zone: ZoneInfo) -> Figures:
    models = compared_models(session)
    if models and wanted.model not in ("", *models):
        raise Permanent(f"no draft of a model {wanted.model} was compared, expected --model {' or '.join(models)}")
    return read_figures(session, wanted, zone)


def _summary(sample: Sample) -> str:
    if not sample.studies:
        return "No draft was compared with a signed report."
    first = f"{SYNTHETIC}. " if sample.has_synthetic else ""
    withdrawn = f", {sample.withdrawn} of them withdrawn" if sample.withdrawn else ""
    drafts = f"{len(sample.studies)} drafts of {', '.join(sample.models)} compared with the signed report{withdrawn}"
    return f"{first}{drafts}; ROUGE-L of the findings: median {_median(sample.rouge_l)}."


def _finding_table(figures: Figures) -> Table:
    table = Table("finding", *_HEADS)
    for name, counts in (*figures.findings.items(), ("all", figures.sample.counts)):
        shares = (_share(counts.share(each)) for each in OUTCOMES)
        table.add_row(name, str(counts.named), *shares, str(counts.contradicted))
    return table


def _period_table(figures: Figures) -> Table:
    table = Table("month from" if figures.by_month else "week from", "drafts", "ROUGE-L, median", *_HEADS[:2])
    for first, sample in figures.periods.items():
        counts = sample.counts
        agreed = _share(counts.share("agreed"))
        table.add_row(str(first), str(len(sample.studies)), _median(sample.rouge_l), str(counts.named), agreed)
    return table


def _share(of: Share) -> str:
    return f"{of.part}: {of.value:.0%} ({of.low:.0%}–{of.high:.0%})" if of.whole else ""


def _median(of: Median | None) -> str:
    return f"{of.value:.2f} ({of.low:.2f}–{of.high:.2f})" if of else ""


def _as_json(figures: Figures) -> dict[str, object]:
    return {
        **_sample_json(figures.sample),
        "withdrawn": figures.sample.withdrawn,
        "models": figures.sample.models,
        "findings": {name: _counts_json(counts) for name, counts in figures.findings.items()},
        "by": "month" if figures.by_month else "week",
        "periods": {str(first): _sample_json(sample) for first, sample in figures.periods.items()},
    }


def _sample_json(sample: Sample) -> dict[str, object]:
    rouge_l = asdict(sample.rouge_l) if sample.rouge_l else None
    return {"drafts": len(sample.studies), "rouge_l": rouge_l, "all_findings": _counts_json(sample.counts)}


def _counts_json(counts: Counts) -> dict[str, object]:
    shares = {each: asdict(counts.share(each)) for each in OUTCOMES} if counts.named else {}
    return {"named": counts.named, "contradicted": counts.contradicted, **shares}
