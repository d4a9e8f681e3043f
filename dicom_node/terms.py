"""The terms of published weights: the operator accepts them by a setting, or they are neither fetched nor loaded."""

from dicom_node.config import Settings
from dicom_node.errors import Permanent

TERMS = "https://huggingface.co/microsoft/llava-rad/blob/main/LICENSE"


def require_acceptance(settings: Settings) -> None:
    """Raises Permanent naming the setting."""
    if not settings.accept_research_only_terms:
        raise Permanent(
            f"LLaVA-Rad's published weights are for non-commercial research only and not for care ({TERMS}): "
            "set accept_research_only_terms = true (DICOM_NODE_ACCEPT_RESEARCH_ONLY_TERMS) to accept these terms"
        )
