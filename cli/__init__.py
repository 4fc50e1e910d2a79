"""The ``sherd`` command."""
