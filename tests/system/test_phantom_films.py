"""From socket to report the film stays itself: what it shows, and on which side, is what the report says.

The model that ships really reads synthetic films, so a film mirrored, inverted or mis-scaled on the way fails here.
"""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pytest
from house import Node, require, storescu
from pydicom import Dataset, dcmread
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from dicom_node.product import SYNTHETIC
from dicom_node.timeline import StudyStatus
from integration.simulators.pacs import LoopbackPacs
from integration.simulators.ris import LoopbackRis
from workers.phantom.case import Case, Finding, Kind, Side, Size, View, Zone
from workers.phantom.film import film_dataset
from workers.phantom.habits import Habits
from workers.phantom.reading import read_findings

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

FILM = Case(7, findings=(Finding(Kind.PACEMAKER, Side.LEFT), Finding(Kind.NODULE, Side.RIGHT, Size.LARGE, Zone.MID)))
SHOWN = {(Kind.PACEMAKER, Side.LEFT), (Kind.NODULE, Side.RIGHT)}
TURNED_OVER = {(Kind.PACEMAKER, Side.RIGHT), (Kind.NODULE, Side.LEFT), (Kind.DEXTROCARDIA, None)}
HABITS = {
    "MONOCHROME1": Habits(photometric="MONOCHROME1"),
    "MONOCHROME2": Habits(photometric="MONOCHROME2"),
    "JPEG 2000": Habits(transfer_syntax=JPEG2000Lossless),
    "JPEG-LS": Habits(transfer_syntax=JPEGLSLossless),
    "RLE": Habits(transfer_syntax=RLELossless),
    "JPEG lossless": Habits(transfer_syntax=JPEGLosslessSV1),
    "10 bits": Habits(bits_stored=10, has_window=False),
    "15 bits": Habits(bits_stored=15, modality="CR"),
    "MONOCHROME1, JPEG-LS, 10 bits": Habits("MONOCHROME1", 10, True, JPEGLSLossless, "CR"),
}


@dataclass(frozen=True)
class Reported:
    """What came of one film."""

    status: StudyStatus
    report: Dataset | None
    message: str


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reported]:
    """The film by every maker, turned over, and from the side, through one node."""
    require("storescu", "dcmcjpeg")
    folder = tmp_path_factory.mktemp("phantom")
    films = {name: _film(name, FILM, habits) for name, habits in HABITS.items()}
    films["turned over"] = _mirror(_film("turned over", FILM, Habits()))
    films["lateral"] = _film("lateral", replace(FILM, view=View.LATERAL, findings=()), Habits())
    with LoopbackPacs(folder / "pacs") as pacs, LoopbackRis(folder / "ris") as ris:
        node = Node(folder / "node", _settings(pacs.port, ris.port))
        node.start()
        try:
            for number, film in enumerate(films.values()):
                file = folder / f"{number}.dcm"
                film.save_as(file, enforce_file_format=True)
                done = storescu(node.port, file)
                assert done.returncode == 0, done.stderr
            statuses = node.wait_settled(len(films))
        finally:
            node.stop()
    reports = {report.StudyInstanceUID: report for report in map(dcmread, (folder / "pacs").glob("*.dcm"))}
    messages = [file.read_bytes().decode() for file in (folder / "ris").glob("*.hl7")]
    return {
        name: Reported(
            statuses[film.StudyInstanceUID],
            reports.get(film.StudyInstanceUID),
            "".join(message for message in messages if film.StudyInstanceUID in message),
        )
        for name, film in films.items()
    }


@pytest.mark.parametrize("habit", HABITS)
def test_the_same_film_says_the_same_whoever_made_it(reported: dict[str, Reported], habit: str) -> None:
    assert _claims(reported[habit]) == SHOWN


def test_a_mirrored_film_says_the_other_side(reported: dict[str, Reported]) -> None:
    assert _claims(reported["turned over"]) == TURNED_OVER


def test_a_lateral_film_is_not_drafted(reported: dict[str, Reported]) -> None:
    lateral = reported["lateral"]
    assert (lateral.status.where, lateral.report, lateral.message) == ("skipped", None, "")


def test_every_output_says_that_a_test_model_wrote_it(reported: dict[str, Reported]) -> None:
    drafted = [each for name, each in reported.items() if name != "lateral"]
    assert all(each.report and SYNTHETIC in str(each.report) and SYNTHETIC in each.message for each in drafted)


def _claims(each: Reported) -> frozenset[tuple[Kind, Side | None]]:
    """What the message in the RIS claims, which the report in the PACS says word for word."""
    assert each.status.where == "done", each.status.why
    rows = [row.split("|") for row in each.message.split("\r") if row.startswith("OBX|")]
    draft = " ".join(row[5] for row in rows if row[2] == "TX")
    print(draft)
    return read_findings(draft)


def _film(name: str, case: Case, habits: Habits) -> Dataset:
    return film_dataset(case, habits, accession_number=name[:16], studied_at=datetime(2026, 3, 1, 9, tzinfo=UTC))


def _mirror(film: Dataset) -> Dataset:
    """Turned over by somebody's software, with a header that knows nothing of it."""
    film.add_new("PixelData", "OW", film.pixel_array[:, ::-1].tobytes())
    return film


def _settings(pacs_port: int, ris_port: int) -> str:
    return f"""\
idle_timeout_s = 0.5

[[pacs]]
name = "pacs"
ae_title = "PACS"
host = "127.0.0.1"
port = {pacs_port}

[[ris]]
name = "ris"
host = "127.0.0.1"
port = {ris_port}
"""
