"""The bytes of a file by offset, wherever it lies."""
