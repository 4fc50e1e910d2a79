"""The version of this program, as ``hello``, ``status`` and the command line tell it."""

VERSION = "0.1.0"
