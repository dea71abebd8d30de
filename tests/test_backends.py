"""Without the backend that Keras is to run on, our import says so, and what to set."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.processes import run_script

SCRIPT = """
import importlib.machinery, os, sys
os.environ.pop("KERAS_BACKEND", None)
os.environ["KERAS_HOME"] = {home!r}  # no settings of this user's
os.environ.update({environment!r})

class Elsewhere:
    "An environment in which only these backends are installed."
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if name in {there!r}:
            return importlib.machinery.ModuleSpec(name, None)
        if top in ("tensorflow", "jax", "torch"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Elsewhere())
import prefetcher
prefetcher.read_log
for name in ("PrefetchSequence", "fit", "Backup", "MonitorCallback", "replay"):
    try:
        getattr(prefetcher, name)
    except ImportError as error:
        assert isinstance(error, prefetcher.PrefetchError), repr(error)
        print(error)
    else:
        raise AssertionError(name)
"""


def said(home: Path, *there: str, **environment: str) -> str:
    """What the imports say, which is the same for each."""
    script = SCRIPT.format(home=str(home), there=there, environment=environment)
    (message,) = set(run_script(script).splitlines())
    return message


@pytest.mark.parametrize("there", [("jax",), ("torch",), ("jax", "torch")])
def test_without_tensorflow_the_variable_is_named(tmp_path: Path, there: tuple[str, ...]) -> None:
    message = said(tmp_path, *there)
    assert "Keras is to run on tensorflow, which is not installed" in message
    assert f"here {' and '.join(there)} can be imported" in message
    assert f"KERAS_BACKEND={there[0]} before Python starts" in message


def test_the_backend_that_was_set_is_missing(tmp_path: Path) -> None:
    message = said(tmp_path, "tensorflow", KERAS_BACKEND="jax")
    assert "Keras is to run on jax" in message
    assert "KERAS_BACKEND=tensorflow" in message


def test_without_any_backend_it_says_what_to_install(tmp_path: Path) -> None:
    assert "none is installed: pip install 'prefetcher[tensorflow]'" in said(tmp_path)
