"""Lets a test kill a role between any two steps: put this folder on PYTHONPATH and name the steps in DIE_STEPS.

A step is `module:function:before` or `module:Class.method:after`. The process kills itself (SIGKILL) when it comes to a
step whose file lies in the folder DIE_ARMED; it removes the file first, so that it dies once.
"""

import functools
import importlib.util
import os
import signal
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

_ARMED = Path(os.environ.get("DIE_ARMED", "/nonexistent"))


def _die_if_armed(step: str) -> None:
    file = _ARMED / step.replace(":", "@")
    if file.exists():
        file.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def _wrap(function, name: str):
    @functools.wraps(function)
    def wrapped(*arguments, **named):
        _die_if_armed(f"{name}:before")
        result = function(*arguments, **named)
        _die_if_armed(f"{name}:after")
        return result

    return wrapped


def _patch(module, qualified: str) -> None:
    *owners, attribute = qualified.split(".")
    owner = functools.reduce(getattr, owners, module)
    original = owner.__dict__[attribute]
    is_static = isinstance(original, staticmethod)
    wrapped = _wrap(original.__func__ if is_static else original, f"{module.__name__}:{qualified}")
    setattr(owner, attribute, staticmethod(wrapped) if is_static else wrapped)


class _PatchAfterImport(MetaPathFinder):
    """Finds a module as everybody else would, and patches it once it has run."""

    def __init__(self, functions: dict[str, list[str]]) -> None:
        self._functions = functions

    def find_spec(self, name, path=None, target=None):
        functions = self._functions.pop(name, None)
        if functions is None:
            return None
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module) -> None:
            execute(module)
            for function in functions:
                _patch(module, function)

        spec.loader.exec_module = exec_module
        return spec


_functions: dict[str, list[str]] = {}
for _step in filter(None, os.environ.get("DIE_STEPS", "").split(",")):
    _module, _function, _ = _step.split(":")
    if _function not in _functions.setdefault(_module, []):
        _functions[_module].append(_function)
sys.meta_path.insert(0, _PatchAfterImport(_functions))
