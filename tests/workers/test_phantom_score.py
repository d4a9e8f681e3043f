from dicom_node.shares import share
from workers.phantom.case import Case, Finding, Kind, Side, Size, Zone
from workers.phantom.score import score

LEFT_EFFUSION = Finding(Kind.EFFUSION, Side.LEFT, Size.SMALL)
RIGHT_NODULE = Finding(Kind.NODULE, Side.RIGHT, Size.LARGE, Zone.UPPER)


def test_counts_what_is_found_what_has_its_side_and_what_is_made_up() -> None:
    pairs = [
        (Case(1, findings=(LEFT_EFFUSION, RIGHT_NODULE)), "Small left pleural effusion. There is a right mass."),
        (Case(2, findings=(LEFT_EFFUSION,)), "There is a right pleural effusion. The heart is enlarged."),
        (Case(3, findings=(RIGHT_NODULE,)), "The lungs are clear."),
        (Case(4), "No pleural effusion."),
    ]
    result = score(pairs)
    assert (result.findings.part, result.findings.whole) == (3, 4)
    assert (result.sides.part, result.sides.whole) == (2, 3)
    assert (result.false_findings.part, result.false_findings.whole) == (1, 4)
    assert (result.films.part, result.films.whole) == (2, 4)


def test_one_of_two_effusions_is_the_finding_but_not_its_sides() -> None:
    both = Case(1, findings=(LEFT_EFFUSION, Finding(Kind.EFFUSION, Side.RIGHT, Size.SMALL)))
    result = score([(both, "Small left pleural effusion.")])
    assert (result.findings.value, result.sides.value, result.false_findings.value) == (1.0, 0.0, 0.0)


def test_intervals_are_wilsons() -> None:
    # Source: Newcombe 1998, Statistics in Medicine 17:857, table I, method 3: 81 of 263 and 0 of 20.
    assert [round(each, 4) for each in (share(81, 263).low, share(81, 263).high)] == [0.2553, 0.3662]
    assert [round(each, 4) for each in (share(0, 20).low, share(0, 20).high)] == [0.0, 0.1611]
