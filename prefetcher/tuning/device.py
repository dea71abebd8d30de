"""A simulated accelerator: how long one of a given speed would wait for data."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter


@dataclass(frozen=True, slots=True)
class Device:
    """A device that takes a fixed time for each batch, and whose host asks one batch ahead.

    So does Keras on a real one: while a step runs, the host fetches the next batch. The device
    stalls if that is not there when the step ends. Waiting uses no CPU.

    Attributes:
        step_s: Seconds of a step.
        now: The clock.
        wait: Lets so many seconds pass.
    """

    step_s: float
    now: Callable[[], float] = perf_counter
    wait: Callable[[float], object] = threading.Event().wait

    def run(self, batches: Iterable[object]) -> tuple[float, float]:
        """Trains on all batches but the first, whose coming is not counted; blocks meanwhile.

        Returns:
            The seconds that the device stalled, and all seconds that it took.
        """
        coming = iter(batches)
        next(coming)
        begun = self.now()
        step_ends, stalled = begun + self.step_s, 0.0
        for _ in coming:
            came = self.now()
            if came > step_ends:
                stalled += came - step_ends
            else:
                self.wait(step_ends - came)
            step_ends = max(came, step_ends) + self.step_s
        return stalled, step_ends - self.step_s - begun  # nothing is asked for during the last step

    def stall_pct(self, batches: Iterable[object]) -> float:
        """Trains as `run` does; the stall in percent of the time."""
        stalled, seconds = self.run(batches)
        return 100 * stalled / seconds
