"""The load generator behind ``sherd bench``."""
