"""What reads have met that cannot be served: each place once in the log, and all of it in the status.

A damaged block answers every read of its keys with CORRUPTION for as long as the store is open, so a line for each read
would fill the log with one thing.
"""

import logging

from sherd.common.errors import Corruption

log = logging.getLogger("lsm")

PLACES_MAX = 100
"""Damaged places that are told one by one."""


class Damage:
    """``places`` are messages that name file and offset, in the order met; ``reads`` counts the reads that failed."""

    def __init__(self) -> None:
        self.reads = 0
        self.places: list[str] = []

    def met(self, error: Corruption) -> None:
        """A read failed with ``error``."""
        self.reads += 1
        if error.message not in self.places and len(self.places) < PLACES_MAX:
            self.places.append(error.message)
            log.error("read met damage: %s", error.message)
