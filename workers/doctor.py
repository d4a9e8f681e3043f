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
_NEEDED = 1.25  # of the weights' size, with what one draft takes: calculated for LLaVA-Rad, 17 GB
_ON_PROCESSORS_S = 900.0  # enough for a draft of LLaVA-Rad on two cores


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
    if torch.cuda.is_available():
        yield _card(sum(each.stat().st_size for each in folder.glob("*.safetensors")))
    else:
        yield _processors(config, settings.inference_timeout_s)


def _card(weights_bytes: int) -> Diagnosis:
    free, total = torch.cuda.mem_get_info()
    words = f"{torch.cuda.get_device_name()}, {free / _GB:.0f} of {total / _GB:.0f} GB free"
    needed = weights_bytes * _NEEDED
    if total < needed:
        return fault("GPU", f"{words}; model and draft take {needed / _GB:.0f} GB", "use a card with more memory")
    return ok("GPU", words)


def _processors(config: ModelConfig, timeout_s: float) -> Diagnosis:
    if config.is_synthetic:
        return ok("GPU", "none; the test model needs none")
    # In containers the doctor runs beside the page, and only workers are given a card.
    words = "none is seen from here; where the worker sees none either, a draft takes minutes"
    fix = "run workers where an NVIDIA card and its driver are (`nvidia-smi` there shows it)"
    if timeout_s < _ON_PROCESSORS_S:
        words += f", and each is given up after {timeout_s:g} s"
        fix += f", or set inference_timeout_s = {_ON_PROCESSORS_S:g}"
    return warning("GPU", words, fix)
