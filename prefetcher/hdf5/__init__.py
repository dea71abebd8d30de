"""Rows out of HDF5 files: what a file holds, and the ways to read it. Imports h5py."""
