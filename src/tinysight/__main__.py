"""`python -m tinysight`: the command line, where its script is not on the path."""

from __future__ import annotations

from tinysight.cli import script

if __name__ == "__main__":
    script()
