"""Pictures, arrays and tables into HDF5 files that are ready to train on."""
