"""The rules in force, and which of them would take a study: asked without writing anything."""

import pkgutil
from collections.abc import Callable
from typing import cast

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from dicom_node.errors import NodeError
from dicom_node.rules.rule_file import RuleFile, rule_file
from dicom_node.rules.verdict import Explanation
from dicom_node.web.door import Visitor
from dicom_node.web.page import Page
from dicom_node.web.refused import PageRefused
from dicom_node.web.study_rows import visit_study

_EXPLAIN_STUDY = "workers.explaining:explain_study"  # the core knows the arms by their names only


def make_router(page: Page) -> APIRouter:
    router, rules = APIRouter(), rule_file(page.settings)

    @router.get("/rules")
    def show(request: Request, study: int | None = None) -> Response:
        visitor = page.door.operator(request)
        in_force = rules.in_force() if rules else None
        explanation = None if study is None or rules is None else _explain(page, visitor, rules, study)
        said = {"visitor": visitor, "file": rules, "rules": in_force, "study": study, "explanation": explanation}
        return page.templates.render("rules.html", said)

    return router


def _explain(page: Page, visitor: Visitor, rules: RuleFile, study_id: int) -> Explanation:
    in_force = rules.in_force()
    if in_force is None:
        raise PageRefused(409, "No rules are in force: mend the file first.")
    with page.receiver.sessions() as session:
        visit_study(page, session, visitor, study_id)
    explain = cast(Callable[..., Explanation], pkgutil.resolve_name(_EXPLAIN_STUDY))
    sessions, store = page.receiver.sessions, page.receiver.store
    try:
        return explain(sessions, store, study_id=study_id, settings=page.settings, rules=in_force)
    except NodeError as error:
        raise PageRefused(422, f"The rules cannot be asked about it: {error}.") from error
    except OSError as error:
        raise PageRefused(503, "The film cannot be read from the disk now.") from error
