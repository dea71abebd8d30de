"""The monitor: a thread that samples pipeline, process, machine and GPUs into a JSONL log."""

from prefetcher.monitor.log import read_log
from prefetcher.monitor.monitor import Monitor, claimed, wait_scope

__all__ = ["Monitor", "claimed", "read_log", "wait_scope"]
