"""What this machine is and does: limits, load, storage, GPUs."""
