"""How many samples a training would take per second if it never had to wait for them."""

from __future__ import annotations

from collections.abc import Sequence

from prefetcher.errors import SettingsError
from prefetcher.verdict.stretch import Line, by_pass, last_run

_HOPELESS_PCT = 95.0  # of stall: what is left says next to nothing of the training's own pace


def pace_of(lines: Sequence[Line], name: str) -> float:
    """Samples per second that the training of a log takes when its data is there.

    Its later passes count if there are any. Lines in which nothing was handed out are left out, as
    in a validation. On TensorFlow the waits are upper bounds, and so is this.

    Args:
        lines: What `read_log` returned.
        name: The log's, for messages.

    Raises:
        SettingsError: The log does not say.
    """
    asked = [line for line in last_run(lines) if line.get("samples_per_s") != 0]
    first, later = by_pass(asked)
    stretch = later or first
    if stretch is None or not stretch.samples_per_s or stretch.stall_pct > _HOPELESS_PCT:
        raise SettingsError(
            f"{name} does not tell the training's own pace, as it hardly ever had data: take the "
            "log of a `replay` (its steps need no data), or write --step-ms or --demand"
        )
    return stretch.samples_per_s / (1 - stretch.stall_pct / 100)
