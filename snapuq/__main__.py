"""Run ``python -m snapuq``."""

import sys

from snapuq.cli import main

if __name__ == "__main__":
    sys.exit(main())
