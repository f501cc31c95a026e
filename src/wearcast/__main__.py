"""`python -m wearcast`: the command line, where no script of that name is installed."""

from __future__ import annotations

import sys

from wearcast.cli import main

if __name__ == "__main__":
    sys.exit(main())
