"""Which backend Keras is to run on, and which it can run on here."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from types import ModuleType

from prefetcher.errors import BackendError

BACKENDS = ("tensorflow", "jax", "torch")
"""Keras's backends that train, as KERAS_BACKEND names them; the first is Keras's default."""


def installed() -> list[str]:
    """The backends that can be imported here; none of them is."""
    return [name for name in BACKENDS if _is_there(name)]


def _is_there(name: str) -> bool:
    try:
        return bool(importlib.util.find_spec(name))
    except (ImportError, ValueError):
        return False


def import_with_keras(module: str) -> ModuleType:
    """Imports a module of this package that imports Keras.

    Raises:
        BackendError: Keras is to run on a backend that is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in BACKENDS:
            raise
        raise BackendError(_advice(error.name), name=error.name) from error


def _advice(missing: str) -> str:
    others = installed()
    if not others:
        return (
            "Keras needs TensorFlow, JAX or PyTorch, and none is installed: "
            "pip install 'prefetcher[tensorflow]', or [jax], or [torch]"
        )
    return (
        f"Keras is to run on {missing}, which is not installed; here {' and '.join(others)} "
        f"can be imported: set the environment variable KERAS_BACKEND={others[0]} before Python "
        f"starts, or os.environ['KERAS_BACKEND'] = '{others[0]}' before the first import of Keras"
    )
