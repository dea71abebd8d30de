"""Which batch a request gets, whoever asks. Pure but for `callers`."""
