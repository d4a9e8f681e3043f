"""Published weights are pickles. They are read here only, once, and never by an unpickler that could run code."""

import errno
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from dicom_node.errors import BadCheckpoint

# Numbers that a training script keeps beside its tensors: numpy's, whose maker has another name in numpy 1 and 2.
_Maker = Callable[..., object]
_make_number = cast(_Maker, np.float64(0).__reduce__()[0])
_NUMPY_NUMBERS: list[_Maker | tuple[_Maker, str]] = [
    np.dtype,
    np.dtypes.Float64DType,
    np.dtypes.Float32DType,
    np.dtypes.Int64DType,
    (_make_number, "numpy.core.multiarray.scalar"),
    (_make_number, "numpy._core.multiarray.scalar"),
]
_FORBIDDEN_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


def read_tensors(path: Path, *, within: str | None = None) -> dict[str, Tensor]:
    """The tensors of a table that torch.save wrote, or of its table `within`. They stay on the disk if they can.

    Raises BadCheckpoint if the file names anything that is not data, is damaged, or holds something else, OSError if it
    cannot be read.
    """
    content = _load(path)
    if within is not None:
        content = content.get(within) if isinstance(content, Mapping) else None
    where = f"{path.name}: {within}" if within else path.name
    if not isinstance(content, Mapping) or not content:
        raise BadCheckpoint(f"{where} is not a table of tensors")
    for name, value in content.items():
        if not isinstance(value, Tensor) or value.layout != torch.strided or value.device.type != "cpu":
            raise BadCheckpoint(f"{where}: {name} is {type(value).__name__}, expected a tensor with numbers")
    return {str(name): value.detach() for name, value in content.items()}


def _load(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(_NUMPY_NUMBERS), warnings.catch_warnings(action="ignore"):
            # Only the zip format of torch >= 1.6 can be mapped; the older one is read into memory.
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise BadCheckpoint(_refusal(path, str(error))) from error
    except MemoryError:
        raise
    except Exception as error:  # bytes that are no pickle can make an unpickler raise whatever there is
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which a file cut short is, too
            raise
        raise BadCheckpoint(f"{path.name} is damaged or no file of PyTorch") from error


def _refusal(path: Path, words: str) -> str:
    named = _FORBIDDEN_GLOBAL.search(words)
    if named is None:
        return f"{path.name} is damaged or no file of PyTorch"
    return f"{path.name} is refused: it names {named[1]}, which is not data; nothing of it was run"
