"""`dicom-node conformance`: the statement as this node is configured."""

from collections.abc import Mapping
from importlib.resources import files
from string import Template

from dicom_node.config import Settings
from integration.conformance.configured import configured_facts
from integration.conformance.limits import limit_facts
from integration.conformance.messages import message_facts
from integration.conformance.products import product_facts
from integration.conformance.services import service_facts
from integration.conformance.statuses import status_facts


def write_statement(settings: Settings) -> str:
    """Make the statement as Markdown. Equal settings give equal statements."""
    return template().substitute(facts(settings))


def template() -> Template:
    """The prose, with a `$name` for each fact."""
    return Template(files(__package__).joinpath("statement.md").read_text(encoding="utf-8"))


def facts(settings: Settings) -> Mapping[str, str]:
    return {
        **service_facts(settings),
        **product_facts(),
        **status_facts(),
        **message_facts(),
        **limit_facts(),
        **configured_facts(settings),
    }
