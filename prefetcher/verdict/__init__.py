"""Whether a run waited for data, why, and what to change: pure functions over log lines."""
