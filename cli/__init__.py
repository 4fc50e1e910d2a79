"""The sherd command."""
