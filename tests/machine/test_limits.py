"""CPU quota and memory limit out of cgroups of both versions, in folders made for the test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prefetcher.machine import limits
from prefetcher.machine.limits import allowed, cpu_quota, cpus_allowed, memory_limit
from prefetcher.machine.reasons import Reasons

MACHINE_BYTES = 2**34


class Cgroups:
    """A made-up /proc/self/cgroup and /sys/fs/cgroup."""

    def __init__(self, folder: Path) -> None:
        self.membership = folder / "membership"
        self.mount = folder / "mount"

    def write(self, file: str, text: str) -> None:
        path = self.mount / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    def quota(self) -> float | None:
        return cpu_quota(self.membership, self.mount)

    def memory(self) -> int | None:
        return memory_limit(MACHINE_BYTES, self.membership, self.mount)


@pytest.fixture
def cgroups(tmp_path: Path) -> Cgroups:
    return Cgroups(tmp_path)


def test_version_2(cgroups: Cgroups) -> None:
    cgroups.membership.write_text("0::/jobs/mine\n")
    cgroups.write("jobs/mine/cpu.max", "250000 100000")
    cgroups.write("jobs/mine/memory.max", "4096")
    assert cgroups.quota() == 2.5
    assert cgroups.memory() == 4096


def test_the_tightest_of_the_nested_groups_holds(cgroups: Cgroups) -> None:
    cgroups.membership.write_text("0::/jobs/mine\n")
    cgroups.write("jobs/mine/cpu.max", "max 100000")
    cgroups.write("jobs/cpu.max", "150000 100000")
    cgroups.write("cpu.max", "400000 100000")
    cgroups.write("jobs/mine/memory.max", "8192")
    cgroups.write("memory.max", "4096")
    assert cgroups.quota() == 1.5
    assert cgroups.memory() == 4096


def test_version_1(cgroups: Cgroups) -> None:
    cgroups.membership.write_text("4:memory:/box\n3:cpu,cpuacct:/box\n0::/\n")
    cgroups.write("cpu/box/cpu.cfs_quota_us", "50000")
    cgroups.write("cpu/box/cpu.cfs_period_us", "100000")
    cgroups.write("memory/box/memory.limit_in_bytes", "4096")
    assert cgroups.quota() == 0.5
    assert cgroups.memory() == 4096


def test_no_limit_is_none(cgroups: Cgroups) -> None:
    cgroups.membership.write_text("4:memory:/\n3:cpu:/\n0::/\n")
    cgroups.write("cpu/cpu.cfs_quota_us", "-1")
    cgroups.write("cpu/cpu.cfs_period_us", "100000")
    cgroups.write("memory/memory.limit_in_bytes", "9223372036854771712")
    cgroups.write("cpu.max", "max 100000")
    cgroups.write("memory.max", "max")
    assert cgroups.quota() is None
    assert cgroups.memory() is None


def test_a_system_without_cgroups_has_no_limit(cgroups: Cgroups) -> None:
    assert cgroups.quota() is None
    assert cgroups.memory() is None


def test_the_log_says_what_is_allowed_here() -> None:
    reasons = Reasons()
    content = allowed(reasons)
    cpus = content["cpus_allowed"]
    assert isinstance(cpus, dict)
    assert 1 <= cpus["affinity"] <= (os.cpu_count() or 0)
    noted = reasons.take()
    assert (cpus["quota"] is None) == ("cpus_allowed.quota" in noted)
    assert (content["memory_limit_bytes"] is None) == ("memory_limit_bytes" in noted)


@pytest.mark.parametrize(
    ("affinity", "quota", "cpus"),
    [(4, None, 4), (4, 2.5, 3), (2, 2.5, 2), (4, 0.5, 1), (None, None, 1)],
)
def test_the_cpus_allowed_are_whole(
    monkeypatch: pytest.MonkeyPatch, affinity: int | None, quota: float | None, cpus: int
) -> None:
    monkeypatch.setattr(limits, "_cpus_by_affinity", lambda: affinity)
    monkeypatch.setattr(limits, "cpu_quota", lambda: quota)
    assert cpus_allowed() == cpus
