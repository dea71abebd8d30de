"""Rows out of HDF5 files: what a file holds, and the ways to read it. The only importer of h5py."""
