"""One process of the fuzzer: libFuzzer (by atheris) over one target. Arguments: the target, then libFuzzer's own."""

import inspect
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType

import atheris
from pydicom import filereader
from pynetdicom import pdu, pdu_items

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from targets import TARGETS, make_small  # noqa: E402  found by the line above

from dicom_node.receive import command, deflate, header, messages, part10, pdus, plain_elements  # noqa: E402

# Where the fuzzer looks for ways it has not been yet: our own code, and what of the libraries a stranger reaches.
_LOOKED_AT = (command, deflate, header, messages, part10, pdus, plain_elements, filereader, pdu, pdu_items)


def main() -> None:
    warnings.simplefilter("ignore")  # libraries warn of every strange value
    for function in {each for module in _LOOKED_AT for each in _functions(module, module)}:
        atheris.instrument_func(function)  # by import hook, all of a library is: it starts 20 s later and runs slower
    make_small()
    atheris.Setup([sys.argv[0], *sys.argv[2:]], TARGETS[sys.argv[1]])
    atheris.Fuzz()


def _functions(module: ModuleType, owner: object) -> Iterator[FunctionType]:
    """Of the module, and of its classes."""
    for member in vars(owner).values():
        if getattr(member, "__module__", module.__name__) != module.__name__:
            continue
        if inspect.isclass(member):
            yield from _functions(module, member)
        for each in (member, *(getattr(member, name, None) for name in ("fget", "fset", "__func__"))):
            if inspect.isfunction(each) and each.__module__ == module.__name__:
                yield each


if __name__ == "__main__":
    main()
