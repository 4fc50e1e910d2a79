"""Runs Sherd and its peers in alternation and compares them: ``python loadtest/peers/compare.py --help``."""

import sys
from importlib import import_module
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parent.parent)  # where the package ``peers`` is
    sys.exit(import_module("peers.command").main())
