"""A real small cluster for tests: ``Cluster`` as a context manager, and pytest fixtures over it.

pytest loads this module in every run where Sherd is installed, so it imports next to nothing until it is used.
"""
