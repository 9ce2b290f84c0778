"""`python -m tinysight`."""

import sys

from tinysight.cli import main

if __name__ == "__main__":
    sys.exit(main())
