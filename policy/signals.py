"""What rooms above policy may listen to; policy never knows who does."""

from django.dispatch import Signal

panic_declared = Signal()
"""Sent once a panic is stored: what is under way is stopped by those who know how. Provides `panic`."""
