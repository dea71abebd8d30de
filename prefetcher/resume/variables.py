"""Every variable that training changes: as arrays, and back into a model.

Works on the variables' values alone, in the order in which Keras lists them; that order is the
code's, while names get a number that depends on what else the process has made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
from numpy.typing import NDArray

from prefetcher.batch import Batch
from prefetcher.errors import SettingsError, StateError
from prefetcher.resume.store import Arrays

MODEL, OPTIMIZER, METRICS, DICE = "model", "optimizer", "metrics", "dice"


def read(model: Any, *, metrics: bool) -> dict[str, Any]:
    """The values now, by "group/number". May share memory with the model: write, do not keep.

    Args:
        model: A built `keras.Model`; on JAX one whose state is synced (`Callback.model` is).
        metrics: Whether the metrics' running sums are wanted, as in mid-epoch.
    """
    groups = [MODEL, OPTIMIZER, *([METRICS] if metrics else [])]
    refuse_split(model)
    return {
        f"{group}/{number}": keras.ops.convert_to_numpy(variable)
        for group in groups
        for number, variable in enumerate(_variables(model, group))
    }


def refuse_split(model: Any) -> None:
    """Checks that this process has the whole of every variable.

    Raises:
        SettingsError: Several processes have parts of one; the message names the first.
    """
    for variable in model.variables:
        value = variable.value
        # JAX's word for it; the arrays of other backends lie in one process.
        if not getattr(value, "is_fully_addressable", True) and not value.is_fully_replicated:
            raise SettingsError(
                f"{variable.path} is split over several processes, and a backup needs the whole "
                "of it in each: train with keras.distribution.DataParallel, or save such a model "
                "by means of its own"
            )


def of_each_process(arrays: Arrays) -> list[str]:
    """The names of what `read` and `read_dice` gave that each process has for itself.

    On JAX metrics are summed over all processes and seeds are variables, so there is none.
    """
    if keras.config.backend() != "torch":
        return []
    return [name for name in arrays if name.startswith((f"{METRICS}/", f"{DICE}/"))]


def needs_batch(model: Any, arrays: Arrays) -> bool:
    """Whether `build` needs a batch."""
    return not model.built or any(_differing(model, arrays, METRICS))


def build(model: Any, arrays: Arrays, batch: Batch | None) -> None:
    """Makes sure that every variable exists which `arrays` has a value for.

    Args:
        model: A compiled model, built or not.
        arrays: What `read` gave.
        batch: One batch, if `needs_batch` says so.

    Raises:
        StateError: The model has other variables; the message names the first.
    """
    if batch is not None:
        # The public call that builds layers and metrics on every backend; all that it changes
        # is put back afterwards.
        model.test_on_batch(*batch)
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)
    for group in (MODEL, OPTIMIZER, METRICS):
        for difference in _differing(model, arrays, group):
            raise StateError(
                f"the backup is of another model: {difference}. Build and compile it as before, or "
                "choose another folder to begin anew"
            )


def write(model: Any, arrays: Arrays, *, metrics: bool) -> None:
    """Puts values back into a model that `build` has seen.

    Raises:
        StateError: A value is missing or of another kind.
    """
    for group in [MODEL, OPTIMIZER, *([METRICS] if metrics else [])]:
        for number, variable in enumerate(_variables(model, group)):
            variable.assign(_value(variable, f"{group}/{number}", arrays))


def _value(variable: Any, name: str, arrays: Arrays) -> NDArray[Any]:
    try:
        saved = arrays[name]
        if saved.dtype.kind == "V":  # numpy's files do not know bfloat16 and its like
            saved = saved.view(keras.ops.convert_to_numpy(variable).dtype).reshape(saved.shape)
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"the backup has no value of {variable.path}: {error!r}") from error
    return saved


def read_dice() -> dict[str, Any]:
    """PyTorch's global generators, from which Keras's Dropout draws there.

    On TensorFlow and JAX it draws from seeds that are variables of the model, so nothing is global.
    """
    if keras.config.backend() != "torch":
        return {}
    import torch

    states = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
    return {f"{DICE}/{number}": state.numpy() for number, state in enumerate(states)}


def write_dice(arrays: Arrays) -> None:
    """Puts back what `read_dice` gave; a backup of another backend, or none, has nothing of it.

    Raises:
        StateError: It is no state of PyTorch's generators.
    """
    saved = [array for name, array in arrays.items() if name.startswith(f"{DICE}/")]
    if not saved or keras.config.backend() != "torch":
        return
    import torch

    try:
        processor, *cards = map(torch.from_numpy, saved)
        torch.set_rng_state(processor)
        torch.cuda.set_rng_state_all(cards[: torch.cuda.device_count()])
    except (TypeError, RuntimeError) as error:
        raise StateError(f"the backup's random state is none of PyTorch's: {error}") from error


def _variables(model: Any, group: str) -> list[Any]:
    if group == METRICS:
        return list(model.metrics_variables)
    if group == OPTIMIZER:
        return [] if model.optimizer is None else list(model.optimizer.variables)
    counted = {id(variable) for variable in model.metrics_variables}
    return [variable for variable in model.variables if id(variable) not in counted]


def _differing(model: Any, arrays: Arrays, group: str) -> Iterator[str]:
    """What does not fit in a group. Metrics are not in every backup."""
    saved = [name for name in arrays if name.startswith(f"{group}/")]
    variables = _variables(model, group)
    if group == METRICS and not saved:
        return
    if set(saved) != {f"{group}/{number}" for number in range(len(variables))}:
        yield f"it had {len(saved)} {group} variables, this one has {len(variables)}"
        return
    for number, variable in enumerate(variables):
        found = arrays[f"{group}/{number}"]
        if found.shape != tuple(variable.shape):
            yield f"{variable.path} had shape {found.shape}, here it has {tuple(variable.shape)}"
        elif found.dtype.kind not in "biufV":
            yield f"{variable.path} had {found.dtype} elements, here it has {variable.dtype}"
