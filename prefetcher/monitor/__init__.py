"""The monitor: a thread that samples pipeline, process, machine and GPUs into a JSONL log."""

from prefetcher.monitor.log import read_log
from prefetcher.monitor.monitor import Monitor

__all__ = ["Monitor", "read_log"]
