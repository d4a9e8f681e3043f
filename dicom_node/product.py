"""What this node calls itself in the objects it writes."""

from functools import cache
from importlib.metadata import version

# (0008,0070) of everything the node makes; `workers.selection` refuses to read images that bear it.
MANUFACTURER = "cxrnode"
MODEL_NAME = "dicom-node"  # (0008,1090), and the name of the distribution
SYNTHETIC = "SYNTHETIC TEST MODEL"  # said first wherever a draft of a model is shown that is for tests alone

# The first line of every report, unless the site says it in words of its own.
DISCLAIMER = (
    "PRELIMINARY AI-GENERATED DRAFT. Not reviewed by a radiologist. Research use only. "
    "Not for diagnostic use without review and confirmation by a qualified physician."
)


def opening(disclaimer: str, *, is_synthetic: bool) -> str:
    """What stands above the words of a draft, wherever they leave the node."""
    return f"{SYNTHETIC}: nothing below is about the patient.\n{disclaimer}" if is_synthetic else disclaimer


@cache
def software_version() -> str:
    return version(MODEL_NAME)
