"""The smallest settings that feed a model: what a machine and a file give, and what to choose."""
