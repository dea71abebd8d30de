"""HDF5's filters, decoded and encoded outside its lock."""
