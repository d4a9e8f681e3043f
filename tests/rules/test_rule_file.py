"""The rules in force: read again when the file changes, the last good ones when it is bad."""

from pathlib import Path

import pytest

from dicom_node.rules.rule_file import RuleFile

ONE, TWO = "rules: [{name: one}]", "rules: [{name: two, priority: stat}]"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rules.yml"


def names(file: RuleFile) -> list[str] | None:
    rules = file.in_force()
    return None if rules is None else [rule.name for rule in rules]


def test_a_file_that_changes_is_read_again(path: Path) -> None:
    file = RuleFile(path, ())
    path.write_text(ONE)
    assert names(file) == ["one"]
    path.write_text(TWO)
    assert (names(file), file.fault, file.lacks) == (["two"], "", "")


@pytest.mark.parametrize("bad", [b"", b"rules: [{name: two, prio: stat}]", b"\xff", None])
def test_a_file_that_becomes_bad_leaves_the_last_good_rules_in_force_and_is_told_once(
    bad: bytes | None, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = RuleFile(path, ())
    path.write_text(ONE)
    names(file)
    path.unlink()
    if bad is not None:
        path.write_bytes(bad)
    assert (names(file), names(file)) == (["one"], ["one"])
    assert str(path) in file.fault
    assert file.lacks == ""
    assert caplog.text.count("rules_refused") == 1
    path.write_text(ONE)
    assert (names(file), file.fault) == (["one"], "")


def test_each_new_fault_is_told(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = RuleFile(path, ())
    path.write_text("rules: [{name: one, prio: stat}]")
    names(file)
    path.write_text("rules: [{name: one,\n pri: stat}]")
    names(file)
    assert caplog.text.count("rules_refused") == 2
    assert "line 2: pri is not known here" in caplog.text


def test_without_a_good_file_since_the_start_no_rules_are_in_force(path: Path) -> None:
    file = RuleFile(path, ())
    assert (names(file), file.lacks) == (None, f"{path} cannot be read: No such file or directory")
    path.write_text("rules: [{name: one, destinations: pacs}]")
    assert (names(file), "pacs is not known here" in file.lacks) == (None, True)
    path.write_text(ONE)
    assert (names(file), file.lacks) == (["one"], "")


def test_a_byte_order_mark_is_no_fault(path: Path) -> None:
    path.write_text(ONE, encoding="utf-8-sig")
    assert names(RuleFile(path, ())) == ["one"]
