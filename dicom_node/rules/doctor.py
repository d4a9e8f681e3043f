"""`dicom-node doctor`'s check of the rules' file."""

from collections.abc import Iterator

from dicom_node.config import Settings
from dicom_node.doctor.diagnosis import Diagnosis, fault, ok
from dicom_node.errors import BadRules
from dicom_node.rules.rule_file import read_rules


def check_rules(settings: Settings) -> Iterator[Diagnosis]:
    """Could it be taken as it is?"""
    what = "rules"
    if settings.rules_file is None:
        yield ok(what, "none are set: every study that can be read is, and for all destinations")
        return
    try:
        rules = read_rules(settings.rules_file, settings.destination_names)
    except BadRules as error:
        fix = "mend it, try it with `dicom-node rules check`; until then workers that run keep to the last good rules"
        yield fault(what, str(error), fix)
        return
    yield ok(what, f"{len(rules)} in {settings.rules_file}: {', '.join(rule.name for rule in rules)}")
