"""Rows out of HDF5 files: what a file holds and how it is read. Imports h5py, as writing does."""
