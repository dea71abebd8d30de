"""Rows into HDF5 files. With `hdf5`, the only importer of h5py."""
