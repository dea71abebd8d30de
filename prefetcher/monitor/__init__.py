"""The monitor: a thread that samples pipeline, process, machine and GPUs into a JSONL log."""

from prefetcher.monitor.monitor import Monitor, claimed, wait_scope
from prefetcher.monitor.reading import Log, read_lines, read_log

__all__ = ["Log", "Monitor", "claimed", "read_lines", "read_log", "wait_scope"]
