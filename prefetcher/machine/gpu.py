"""NVIDIA cards, through NVML. Every reading is optional; a machine without a driver is normal."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from prefetcher.machine.reasons import Reasons


@dataclass(frozen=True, slots=True)
class Card:
    """One card, or one slice of a card (MIG), that this process can use."""

    index: int | None
    """NVML's number, the one nvidia-smi shows. CUDA may count otherwise: the uuid identifies."""
    uuid: str | None
    name: str | None
    handle: Any

    def describe(self) -> dict[str, object]:
        """What the log's first line says of the card."""
        return {"index": self.index, "uuid": self.uuid, "name": self.name}


@contextmanager
def open_gpus(
    reasons: Reasons,
    environ: Mapping[str, str] = os.environ,
    load: Callable[[], Any] | None = None,
) -> Iterator[Gpus | None]:
    """Holds NVML open; gives None, with the reason noted as "gpu", where there is no driver.

    Args:
        reasons: takes a note for every card and reading that is not available.
        environ: where CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER are looked up.
        load: returns the module pynvml or one like it.
    """
    nvml = _started(reasons, load or _pynvml)
    if nvml is None:
        yield None
        return
    try:
        yield Gpus(nvml, reasons, environ)
    finally:
        with suppress(nvml.NVMLError):
            nvml.nvmlShutdown()


def _pynvml() -> ModuleType:
    import pynvml

    return pynvml  # type: ignore[no-any-return]


def _started(reasons: Reasons, load: Callable[[], Any]) -> Any | None:
    try:
        nvml = load()
    except ImportError as error:
        reasons.note("gpu", f"nvidia-ml-py is not installed ({error})")
        return None
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        missing = (nvml.NVML_ERROR_LIBRARY_NOT_FOUND, nvml.NVML_ERROR_DRIVER_NOT_LOADED)
        what = "no NVIDIA driver" if error.value in missing else "NVML does not start"
        reasons.note("gpu", f"{what} ({error})")
        return None
    return nvml


class Gpus:
    """The cards that CUDA_VISIBLE_DEVICES leaves to this process, all of them without it."""

    def __init__(self, nvml: Any, reasons: Reasons, environ: Mapping[str, str]) -> None:
        self._nvml = nvml
        self._reasons = reasons
        # A reading that this driver or this binding does not know is only not available.
        self._errors: Final = (nvml.NVMLError, AttributeError)
        self.cards: Final = tuple(self._visible(environ))

    def read(self) -> list[dict[str, object]]:
        """One dict per card, in the order of `cards`: a reading that fails is None, and noted."""
        return [self._read(card) for card in self.cards]

    def _read(self, card: Card) -> dict[str, object]:
        nvml = self._nvml
        readings: dict[str, Callable[[Any], Any]] = {
            "util_pct": lambda handle: nvml.nvmlDeviceGetUtilizationRates(handle).gpu,
            "memory_used_bytes": lambda handle: nvml.nvmlDeviceGetMemoryInfo(handle).used,
            "power_w": lambda handle: nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            "temperature_c": self._temperature,
        }
        taken = {name: self._attempt(card, name, reading) for name, reading in readings.items()}
        return {"index": card.index, **taken}

    def _temperature(self, handle: Any) -> Any:
        nvml = self._nvml
        try:
            return nvml.nvmlDeviceGetTemperatureV(handle, nvml.NVML_TEMPERATURE_GPU)
        except self._errors:  # older than this call, which CUDA 14 leaves alone
            return nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)

    def _attempt(self, card: Card, name: str, reading: Callable[[Any], Any]) -> Any | None:
        return self._reasons.attempt(
            f"gpu.{card.index}.{name}", lambda: reading(card.handle), self._errors
        )

    def _visible(self, environ: Mapping[str, str]) -> Iterator[Card]:
        """The cards by CUDA's rules: words of the variable in turn, until one fits no card."""
        cards = list(self._all())
        wanted = environ.get("CUDA_VISIBLE_DEVICES")
        if wanted is None or not self._order_is_known(cards, wanted, environ):
            yield from cards
            return
        for word in wanted.split(","):
            card = self._named(cards, word.strip())
            if card is None:
                return
            yield card

    def _order_is_known(self, cards: list[Card], wanted: str, environ: Mapping[str, str]) -> bool:
        """Whether a number in `wanted` means the same card to CUDA and to NVML."""
        by_bus = environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
        if by_bus or len({card.name for card in cards}) <= 1 or not wanted.strip()[:1].isdigit():
            return True
        self._reasons.note(
            "gpu.visible",
            "CUDA counts different cards by speed and NVML by bus, so all cards are logged; "
            "set CUDA_DEVICE_ORDER=PCI_BUS_ID, or name cards by UUID in CUDA_VISIBLE_DEVICES",
        )
        return False

    def _named(self, cards: list[Card], word: str) -> Card | None:
        if word.isdigit():
            return next((card for card in cards if card.index == int(word)), None)
        if word.startswith("MIG-"):
            return self._slice(word)
        return next((card for card in cards if word and (card.uuid or "").startswith(word)), None)

    def _all(self) -> Iterator[Card]:
        count = self._reasons.attempt("gpu", self._nvml.nvmlDeviceGetCount, self._errors) or 0
        for index in range(count):
            name = f"gpu.{index}"
            handle = self._get(name, self._nvml.nvmlDeviceGetHandleByIndex, index)
            if handle is not None:
                uuid = self._get(f"{name}.uuid", self._nvml.nvmlDeviceGetUUID, handle)
                yield Card(index, uuid, self._title(name, handle), handle)

    def _slice(self, uuid: str) -> Card | None:
        handle = self._get(f"gpu.{uuid}", self._nvml.nvmlDeviceGetHandleByUUID, uuid)
        if handle is None:
            return None
        index = self._get(f"gpu.{uuid}.index", self._nvml.nvmlDeviceGetIndex, handle)
        return Card(index, uuid, self._title(f"gpu.{uuid}", handle), handle)

    def _title(self, name: str, handle: Any) -> Any | None:
        return self._get(f"{name}.name", self._nvml.nvmlDeviceGetName, handle)

    def _get(self, name: str, call: Callable[[Any], Any], argument: Any) -> Any | None:
        return self._reasons.attempt(name, lambda: call(argument), self._errors)
