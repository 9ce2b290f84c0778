"""`python -m tinysight`."""

from tinysight.cli import script

if __name__ == "__main__":
    script()
