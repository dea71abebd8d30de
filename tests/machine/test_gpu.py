"""The cards, with a made-up NVML that behaves and misbehaves like NVIDIA's."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

from prefetcher.machine.gpu import open_gpus
from prefetcher.machine.reasons import Reasons

NOT_SUPPORTED, DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, GPU_IS_LOST = 3, 9, 12, 15


class FakeError(Exception):
    """Like pynvml's: equal to another by value, and so neither hashable nor fit to compare."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: int) -> None:
        super().__init__(f"code {value}")
        self.value = value

    def __eq__(self, other: object) -> bool:
        return bool(self.value == other.value)  # type: ignore[attr-defined]


class FakeNvml:
    """Two cards, "GPU-aa" and "GPU-bb", and a slice of the second; `errors` makes calls fail."""

    NVMLError = FakeError
    NVML_ERROR_LIBRARY_NOT_FOUND = LIBRARY_NOT_FOUND
    NVML_ERROR_DRIVER_NOT_LOADED = DRIVER_NOT_LOADED
    NVML_TEMPERATURE_GPU = 0

    def __init__(self, names: tuple[str, ...] = ("H100", "H100")) -> None:
        self.names = names
        self.uuids = ("GPU-aa", "GPU-bb")[: len(names)]
        self.errors: dict[str, int] = {}
        self.started = 0

    def _call(self, name: str, answer: Any) -> Any:
        if name in self.errors:
            raise FakeError(self.errors[name])
        return answer

    def nvmlInit(self) -> None:  # noqa: N802
        self._call("init", None)
        self.started += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.started -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return self._call("count", len(self.names))  # type: ignore[no-any-return]

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return self._call(f"handle {index}", index)  # type: ignore[no-any-return]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        if uuid != "MIG-cc":
            raise FakeError(6)
        return 1

    def nvmlDeviceGetIndex(self, handle: int) -> int:  # noqa: N802
        return handle

    def nvmlDeviceGetUUID(self, handle: int) -> str:  # noqa: N802
        return self.uuids[handle]

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return self.names[handle]

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        return self._call(f"util {handle}", SimpleNamespace(gpu=50 + handle))

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return self._call(f"memory {handle}", SimpleNamespace(used=1000))

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        return self._call(f"power {handle}", 300_500)  # type: ignore[no-any-return]

    def nvmlDeviceGetTemperatureV(self, handle: int, _: int) -> int:  # noqa: N802
        return self._call(f"temperature {handle}", 61)  # type: ignore[no-any-return]

    def nvmlDeviceGetTemperature(self, handle: int, _: int) -> int:  # noqa: N802
        return self._call(f"old temperature {handle}", 60)  # type: ignore[no-any-return]


@pytest.fixture
def nvml() -> FakeNvml:
    return FakeNvml()


@pytest.fixture
def reasons() -> Reasons:
    return Reasons()


def visible(nvml: FakeNvml, reasons: Reasons, environ: Mapping[str, str]) -> list[str | None]:
    with open_gpus(reasons, environ, lambda: nvml) as gpus:
        assert gpus is not None
        return [card.uuid for card in gpus.cards]


def read(nvml: FakeNvml, reasons: Reasons) -> list[dict[str, object]]:
    with open_gpus(reasons, {}, lambda: nvml) as gpus:
        assert gpus is not None
        return gpus.read()


def test_every_card_is_read_in_the_units_of_the_names(nvml: FakeNvml, reasons: Reasons) -> None:
    first, second = read(nvml, reasons)
    assert first == {
        "index": 0,
        "util_pct": 50,
        "memory_used_bytes": 1000,
        "power_w": 300.5,
        "temperature_c": 61,
    }
    assert second["util_pct"] == 51
    assert reasons.take() == {}
    assert nvml.started == 0


@pytest.mark.parametrize("code", [LIBRARY_NOT_FOUND, DRIVER_NOT_LOADED])
def test_no_driver_is_normal(nvml: FakeNvml, reasons: Reasons, code: int) -> None:
    nvml.errors["init"] = code
    with open_gpus(reasons, {}, lambda: nvml) as gpus:
        assert gpus is None
    assert reasons.take() == {"gpu": f"no NVIDIA driver (code {code})"}


def test_a_driver_that_does_not_start_is_not_called_missing(
    nvml: FakeNvml, reasons: Reasons
) -> None:
    nvml.errors["init"] = 18
    with open_gpus(reasons, {}, lambda: nvml) as gpus:
        assert gpus is None
    assert reasons.take() == {"gpu": "NVML does not start (code 18)"}


def test_without_the_binding_there_are_no_cards(reasons: Reasons) -> None:
    def load() -> NoReturn:
        raise ImportError("No module named 'pynvml'")

    with open_gpus(reasons, {}, load) as gpus:
        assert gpus is None
    assert "not installed" in reasons.take()["gpu"]


@pytest.mark.parametrize(
    ("call", "key"),
    [("util 0", "util_pct"), ("memory 0", "memory_used_bytes"), ("power 0", "power_w")],
)
def test_each_reading_is_optional_on_its_own(
    nvml: FakeNvml, reasons: Reasons, call: str, key: str
) -> None:
    nvml.errors[call] = NOT_SUPPORTED  # as utilization is on a card that is cut into slices (MIG)
    first, second = read(nvml, reasons)
    assert [name for name, value in first.items() if value is None] == [key]
    assert None not in second.values()
    assert reasons.take() == {f"gpu.0.{key}": "FakeError: code 3"}


def test_an_old_driver_gives_the_temperature_by_its_old_call(
    nvml: FakeNvml, reasons: Reasons
) -> None:
    nvml.errors["temperature 0"] = 13
    assert read(nvml, reasons)[0]["temperature_c"] == 60
    nvml.errors["old temperature 0"] = NOT_SUPPORTED
    assert read(nvml, reasons)[0]["temperature_c"] is None
    assert set(reasons.take()) == {"gpu.0.temperature_c"}


def test_a_binding_without_a_call_only_lacks_that_reading(
    nvml: FakeNvml, reasons: Reasons, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(FakeNvml, "nvmlDeviceGetPowerUsage")
    assert read(nvml, reasons)[0]["power_w"] is None
    assert "AttributeError" in reasons.take()["gpu.0.power_w"]


def test_a_card_that_is_lost_keeps_its_line_and_is_told_once(
    nvml: FakeNvml, reasons: Reasons
) -> None:
    with open_gpus(reasons, {}, lambda: nvml) as gpus:
        assert gpus is not None
        gpus.read()
        for call in ("util", "memory", "power", "temperature", "old temperature"):
            nvml.errors[f"{call} 1"] = GPU_IS_LOST
        for _ in range(2):
            first, second = gpus.read()
            assert None not in first.values()
            assert {name for name, value in second.items() if value is not None} == {"index"}
    assert len(reasons.take()) == 4


def test_a_card_that_cannot_be_opened_is_left_out(nvml: FakeNvml, reasons: Reasons) -> None:
    nvml.errors["handle 0"] = GPU_IS_LOST
    assert visible(nvml, reasons, {}) == ["GPU-bb"]
    assert set(reasons.take()) == {"gpu.0"}
    assert visible(nvml, reasons, {"CUDA_VISIBLE_DEVICES": "1"}) == ["GPU-bb"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ("0,1", ["GPU-aa", "GPU-bb"]),
        ("1", ["GPU-bb"]),
        ("1, 0", ["GPU-bb", "GPU-aa"]),
        ("GPU-b", ["GPU-bb"]),
        ("MIG-cc", ["MIG-cc"]),
        ("MIG-unknown", []),
        ("0,7,1", ["GPU-aa"]),
        ("-1", []),
        ("", []),
    ],
)
def test_the_cards_are_those_that_cuda_would_use(
    nvml: FakeNvml, reasons: Reasons, wanted: str, expected: list[str]
) -> None:
    assert visible(nvml, reasons, {"CUDA_VISIBLE_DEVICES": wanted}) == expected


def test_numbers_of_different_cards_are_only_trusted_in_bus_order(reasons: Reasons) -> None:
    nvml = FakeNvml(names=("T4", "H100"))
    environ = {"CUDA_VISIBLE_DEVICES": "1"}
    assert visible(nvml, reasons, environ) == ["GPU-aa", "GPU-bb"]
    assert "PCI_BUS_ID" in reasons.take()["gpu.visible"]
    assert visible(nvml, reasons, environ | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}) == ["GPU-bb"]
    assert visible(nvml, reasons, {"CUDA_VISIBLE_DEVICES": "GPU-bb"}) == ["GPU-bb"]


def test_nvml_is_shut_down_also_after_an_error(nvml: FakeNvml, reasons: Reasons) -> None:
    with suppress(KeyError), open_gpus(reasons, {}, lambda: nvml):
        assert nvml.started == 1
        raise KeyError
    assert nvml.started == 0
