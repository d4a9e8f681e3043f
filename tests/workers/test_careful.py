"""What a draft is flagged for, and which harmless wording is not."""

import pytest

from dicom_node.flags import Flag, FlagKind
from workers.llavarad.careful import CROPPED_LIMIT, flag_findings


def flags(text: str, *, token_count: int = 40, cropped_fraction: float = 0.0) -> tuple[Flag, ...]:
    return flag_findings(text, token_count=token_count, max_new_tokens=256, cropped_fraction=cropped_fraction)


def kinds(text: str) -> list[str]:
    return [flag.kind.value for flag in flags(text)]


def quoted(text: str, kind: FlagKind) -> list[str]:
    return [text[start:end] for flag in flags(text) if flag.kind is kind for start, end in flag.spans]


@pytest.mark.parametrize(
    "text",
    [
        "The lungs are clear. Heart size is normal. There is no pleural effusion or pneumothorax.",
        "Small left pleural effusion with adjacent atelectasis. No pneumothorax.",
        "Frontal view of the chest. Mild cardiomegaly. No focal consolidation, effusion, or pneumothorax.",
        "Demonstration text from random weights. Nothing here describes this film.",
        "Right internal jugular catheter ends in the mid superior vena cava. Lungs are well inflated.",
        "Lung volumes are low. The hila are normal. Degenerative changes of the thoracic spine.",
    ],
)
def test_a_plain_draft_has_no_flag(text: str) -> None:
    assert kinds(text) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Cardiomegaly is unchanged.", ["unchanged"]),
        ("Interval placement of a chest tube.", ["Interval"]),
        ("Compared to the prior study, lungs are clear.", ["Compared", "prior study"]),
        ("In comparison with the previous radiograph, lungs are clear.", ["comparison", "previous radiograph"]),
        ("Mild edema is again seen.", ["again"]),
        ("Stable cardiomegaly.", ["Stable"]),
        ("New right effusion.", ["New"]),
        ("No new consolidation.", ["new"]),
        ("Newly placed pacemaker.", ["Newly"]),
        ("Increased right pleural effusion.", ["Increased"]),
        ("The effusion has increased.", ["has increased"]),
        ("The opacities have slightly decreased.", ["have slightly decreased"]),
        ("Opacities increased in extent.", ["increased in extent"]),
        ("No significant change in the position of the tube.", ["No significant change"]),
        ("Pneumothorax has resolved.", ["has resolved"]),
        ("Chest tube has been removed.", ["has been removed"]),
        ("Improved aeration of the left base.", ["Improved"]),
        ("Worsening edema.", ["Worsening"]),
        ("Edema is worse than before.", ["worse", "than before"]),
        ("Persistent left effusion.", ["Persistent"]),
        ("The heart remains enlarged.", ["remains"]),
        ("Nodule previously seen in the left lung.", ["previously seen"]),
        ("Larger than on the prior.", ["on the prior"]),
        ("The effusion is no longer seen.", ["no longer"]),
        ("There is now a small effusion.", ["There is now"]),
        ("Redemonstrated is a left nodule.", ["Redemonstrated"]),
        ("Progression of edema.", ["Progression"]),
        (
            "Since the last exam, lines are in place.",
            [
                "Since the last",
            ],
        ),
    ],
)
def test_comparison_with_images_never_seen_is_flagged(text: str, words: list[str]) -> None:
    assert quoted(text, FlagKind.COMPARISON) == words


@pytest.mark.parametrize(
    "text",
    [
        "Increased interstitial markings at both bases.",
        "Mildly increased perihilar vascular markings.",
        "Decreased lung volumes.",
        "Interstitial markings are increased.",
        "Increased AP diameter of the chest.",
        "The right hemidiaphragm is elevated compared to the left.",
        "Prior median sternotomy. Evidence of prior granulomatous disease.",
        "Old healed fracture of the left chest wall.",
        "The patient is hemodynamically stable.",
        "The remaining lungs are clear. The remainder of the lungs is clear.",
        "Short-interval follow-up is recommended.",
        "Opacities are worse on the right.",
        "High-resolution tomography is recommended.",
        "Catheter lies against the wall of the vein. Renewed inspiration.",
        "Progressive massive fibrosis. Fibrotic changes at the apices.",
    ],
)
def test_wording_that_compares_with_nothing_earlier_is_not_flagged(text: str) -> None:
    assert FlagKind.COMPARISON.value not in kinds(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Tube ends 4 cm above the carina.", ["4 cm"]),
        ("A 12mm nodule.", ["12mm"]),
        ("A 3.5-cm mass.", ["3.5-cm"]),
        ("Measures 2.1 x 3 cm.", ["2.1 x 3 cm"]),
        ("Measures 5 to 7 millimeters.", ["5 to 7 millimeters"]),
        ("Ends ___ cm above the carina.", ["___ cm"]),
        ("Several centimeters above the carina.", ["centimeters"]),
        ("Subcentimeter nodule.", ["Subcentimeter"]),
        ("Pressure is 120 mmHg or 120 mm Hg.", []),
        ("Two nodules in 3 zones. Common bile duct. Comma.", []),
    ],
)
def test_sizes_are_flagged(text: str, words: list[str]) -> None:
    assert quoted(text, FlagKind.MEASUREMENT) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("PA and lateral views of the chest.", ["lateral views"]),
        ("Frontal and lateral chest.", ["and lateral"]),
        ("Two views were obtained.", ["Two views"]),
        ("Opacity is best seen on the lateral view.", ["lateral view"]),
        ("Fracture of the lateral left ribs. Lateral costophrenic angle is sharp.", []),
        ("Single frontal view.", []),
    ],
)
def test_views_that_were_not_seen_are_flagged(text: str, words: list[str]) -> None:
    assert quoted(text, FlagKind.UNSEEN_VIEW) == words


@pytest.mark.parametrize(
    "sentence",
    [
        "Findings were discussed with Dr. ___ by telephone.",
        "These findings were communicated to the team.",
        "The nurse was notified.",
        "Dr. Miller was paged.",
        "Results were relayed over the phone at the time of discovery.",
    ],
)
def test_sentences_that_tell_of_a_conversation_are_flagged_whole(sentence: str) -> None:
    text = f"Right pneumothorax. {sentence} Heart is normal."
    assert quoted(text, FlagKind.COMMUNICATION) == [sentence]


@pytest.mark.parametrize(
    "text",
    ["Pigtail drain in place. Drainage catheter.", "Communicating airway.", "As discussed above, lungs are clear."],
)
def test_wording_that_tells_of_no_conversation_is_not_flagged(text: str) -> None:
    assert FlagKind.COMMUNICATION.value not in kinds(text)


@pytest.mark.parametrize("mask", ["___", "__", "[**2151-3-4**]", "XXXX", "[redacted]", "<unk>"])
def test_blanks_of_the_training_data_are_flagged(mask: str) -> None:
    assert quoted(f"Tube placed on {mask} ends well.", FlagKind.MASK) == [mask]


@pytest.mark.parametrize("text", ["Seen on 3/4/2015.", "Since May 3.", "At 10:15 a.m. today.", "In 2019."])
def test_dates_and_times_are_flagged(text: str) -> None:
    assert FlagKind.DATE.value in kinds(text)


@pytest.mark.parametrize("text", ["Ribs 8-10 are intact.", "Lines may end in the vein.", "Level T10/11."])
def test_numbers_that_are_no_dates_are_not_flagged(text: str) -> None:
    assert kinds(text) == []


@pytest.mark.parametrize("text", ["", "  \n ", "...", "___", "12 34"])
def test_text_without_words_is_empty(text: str) -> None:
    assert kinds(text) == ["empty"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The the the lungs are clear.", ["The the the"]),
        ("Small effusion small effusion small effusion.", ["Small effusion small effusion small effusion"]),
        (
            "Opacity in the right lower lobe in the right lower lobe.",
            ["in the right lower lobe in the right lower lobe"],
        ),
        (
            "There is no pneumothorax. Lungs are clear. There is no pneumothorax.",
            ["There is no pneumothorax."],
        ),
        ("Lungs are !!!!!!!!!!!! clear.", ["!!!!!!!!!!!!"]),
        ("Very, very faint opacity. No effusion. No effusion on the left.", []),
        ("No effusion on the right. No effusion on the left.", []),
        ("Line ends ____________ above.", []),
    ],
)
def test_loops_are_flagged(text: str, words: list[str]) -> None:
    assert quoted(text, FlagKind.REPETITION) == words


def test_a_draft_at_the_limit_of_tokens_is_cut_short() -> None:
    text = "Lungs are clear. There is a small"
    (flag,) = flags(text, token_count=256)
    assert flag.kind is FlagKind.TRUNCATED
    assert [text[start:end] for start, end in flag.spans] == ["There is a small"]


def test_a_draft_that_ends_before_the_limit_is_not_cut_short() -> None:
    assert flags("Lungs are clear. There is a small", token_count=255) == ()


def test_an_image_that_was_cropped_a_lot_is_flagged_with_its_share() -> None:
    (flag,) = flags("Lungs are clear.", cropped_fraction=0.5)
    assert (flag.kind, flag.sentence) == (
        FlagKind.CROPPED,
        "50 % of the image was outside of what the model reads.",
    )


@pytest.mark.parametrize("fraction", [0.0, CROPPED_LIMIT])
def test_an_image_that_was_hardly_cropped_is_not_flagged(fraction: float) -> None:
    assert flags("Lungs are clear.", cropped_fraction=fraction) == ()


@pytest.mark.parametrize(
    "text",
    [
        "No pneumothorax. Small right pneumothorax.",
        "Right pneumothorax is present. There is no pleural effusion or pneumothorax.",
        "No right pleural effusion. Moderate right pleural effusion.",
        "Bilateral pleural effusions. No left effusion.",
        "No effusion on the left. Left pleural effusion.",
        "Pleural effusion is not seen. Large left pleural effusion.",
        "The lungs are clear. Left lower lobe consolidation.",
        "The left lung is clear. Consolidation in the left upper lobe.",
        "Heart size is normal. There is mild cardiomegaly.",
        "No cardiomegaly. The heart is moderately enlarged.",
        "Mild pulmonary edema. No focal consolidation, edema, or effusion.",
        "No fracture. Displaced fracture of the left clavicle.",
        "Left apical pneumothorax, without pneumothorax on the left.",
        "No pleural effusion and small left pleural effusion.",
    ],
)
def test_a_finding_that_is_there_and_is_not_is_a_contradiction(text: str) -> None:
    assert kinds(text) == ["contradiction"]


@pytest.mark.parametrize(
    "text",
    [
        "No right pneumothorax. Small left pneumothorax.",
        "Small left pneumothorax. No left pleural effusion or right pneumothorax.",
        "Small right pleural effusion. No left pneumothorax or effusion.",
        "Left effusion. No effusion or pneumothorax on the right.",
        "Left pleural effusion is small, without pneumothorax.",
        "No pneumothorax, small right pleural effusion.",
        "No large pleural effusion. Trace left pleural effusion.",
        "No acute fracture. Old fracture of a left rib.",
        "No other fracture. Fracture of the left clavicle.",
        "Lungs are otherwise clear. Consolidation in the left base.",
        "Lungs are clear of consolidation. Mild edema.",
        "The right lung is clear. Consolidation in the left upper lobe.",
        "Opacity may represent consolidation. No consolidation on the right.",
        "No definite consolidation. Consolidation cannot be excluded at the left base.",
        "No pleural effusion. Small pericardial effusion.",
        "Heart size is at the upper limits of normal. No cardiomegaly.",
        "Left effusion is present and consolidation is not seen. No consolidation.",
        "The heart is normal. The aorta is enlarged.",
        "Bilateral effusions. No pneumothorax and stable effusions.",
        "Left effusion. No pneumothorax, persistent left effusion.",
        "No pneumothorax. Pneumothorax not seen.",
        "No effusion. Pleural effusion: none.",
        "Nodule in the right lung, not seen on the lateral view. There is a nodule in the right lung.",
        "Small right effusion, not seen on CT. The right effusion is layering.",
        "Nodule not seen previously. There is a nodule in the left lung.",
    ],
)
def test_doubt_another_side_or_a_qualified_no_is_no_contradiction(text: str) -> None:
    assert FlagKind.CONTRADICTION.value not in kinds(text)


def test_a_contradiction_names_the_finding_and_both_places() -> None:
    text = "No pneumothorax. Small right pneumothorax."
    (flag,) = flags(text)
    assert flag.sentence == "Says both that there is right pneumothorax and that there is none."
    assert [text[start:end] for start, end in flag.spans] == ["pneumothorax", "pneumothorax"]


def test_one_sentence_quotes_all_places_of_a_kind_up_to_three() -> None:
    (flag,) = flags("New opacity. Stable heart. Unchanged tube. Persistent haze. New line.")
    assert flag.sentence == (
        'Compares with earlier images, which the model has not seen: "New", "Stable", "Unchanged" and 1 more.'
    )
    assert len(flag.spans) == 5


def test_the_own_words_of_a_flag_are_in_every_character_set() -> None:
    text = f"No pneumothorax. Unchanged right pneumothorax, 3 cm. Discussed with Dr. ___ {'at length ' * 9}again."
    found = flags(text, cropped_fraction=0.4)
    assert len(found) == 7
    assert all(flag.sentence.isascii() for flag in found)
