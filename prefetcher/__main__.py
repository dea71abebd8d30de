"""``python -m prefetcher`` is the same as ``prefetcher``."""

import sys

from prefetcher.cli import main

sys.exit(main())
