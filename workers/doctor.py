"""`dicom-node doctor`'s checks of what drafts: the model's folder, its terms, the card."""

from collections.abc import Iterator

import torch

from dicom_node.config import Settings
from dicom_node.doctor.diagnosis import Diagnosis, fault, ok, warning
from dicom_node.errors import NodeError, StorageAway
from workers.llavarad.checkpoint import verify
from workers.llavarad.config import FILE_NAME, ModelConfig, read_config
from workers.terms import require_terms

_GB = 1e9


def check_model(settings: Settings) -> Iterator[Diagnosis]:
    """Every byte of it as its manifest says, and may it be used?"""
    what, folder = "model", settings.checkpoint_dir
    try:
        verify(folder)
        config = read_config(folder / FILE_NAME)
    except StorageAway as error:
        yield fault(what, str(error), "let the user that the node runs as read the folder; look at its disk")
        return
    except NodeError as error:
        yield fault(what, str(error), "import the model anew (`dicom-node model import`), or unset model_dir")
        return
    try:
        require_terms(settings)
    except NodeError as error:
        yield fault("licence", str(error).partition(":")[0], "accept_research_only_terms = true, if you accept them")
        return
    if config.is_synthetic:
        words = f"{config.name} {config.version} is a test model: its drafts are about synthetic films, not patients"
        yield warning(what, words, "set model_dir to a folder made by `dicom-node model import`")
    else:
        yield ok(what, f"{config.name} {config.version}, as its manifest says")
    yield _card(config, sum(each.stat().st_size for each in folder.glob("*.safetensors")))


def _card(config: ModelConfig, weights_bytes: int) -> Diagnosis:
    what = "GPU"
    if not torch.cuda.is_available():
        if config.is_synthetic:
            return ok(what, "none; the test model needs none")
        fix = "run workers where an NVIDIA card and its driver are (`nvidia-smi` shows it)"
        return warning(what, "none: a draft takes minutes on processors", fix)
    free, total = torch.cuda.mem_get_info()
    words = f"{torch.cuda.get_device_name()}, {free / _GB:.0f} of {total / _GB:.0f} GB free"
    if total < weights_bytes:
        return fault(
            what, f"{words}; the model alone takes {weights_bytes / _GB:.0f} GB", "use a card with more memory"
        )
    return ok(what, words)
