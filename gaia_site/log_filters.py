"""What is left out of logs. Loaded with the settings: it imports nothing of Django's."""

from __future__ import annotations

import logging

CANARY = "gaia_site.jobs.canary"
"""The job by which the queue is watched: it runs every few seconds and has nothing to say."""


class WithoutCanaries(logging.Filter):
    """Leaves out the queue's lines about its canaries, unless one failed."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is kept."""
        return record.levelno > logging.INFO or CANARY not in record.getMessage()
