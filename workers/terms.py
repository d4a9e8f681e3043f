"""Before a model is loaded: does its licence ask for the operator's consent?"""

from dicom_node import logs
from dicom_node.config import Settings
from dicom_node.terms import require_acceptance
from workers.llavarad.config import FILE_NAME, read_config
from workers.llavarad.folder import reading
from workers.llavarad.notice import RESEARCH_ONLY

_log = logs.get("terms")


def require_terms(settings: Settings) -> None:
    """Log the acceptance of a research-only model's terms. Raises Permanent if they were not accepted.

    A folder without a configuration is no model: loading it says what is missing.
    """
    path = settings.checkpoint_dir / FILE_NAME
    with reading(path):
        is_there = path.is_file()
    if not is_there:
        return
    model = read_config(path)
    if model.licence == "research-only":
        require_acceptance(settings)
        _log.warning("research_only_terms_accepted", model=model.name, version=model.version, text=RESEARCH_ONLY)
