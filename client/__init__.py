"""The Python clients over one protocol core."""
