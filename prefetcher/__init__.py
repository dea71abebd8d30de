"""Keeps an accelerator fed from an HDF5 file too big for memory."""
