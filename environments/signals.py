"""What rooms above environments may listen to; environments never know who does."""

from django.dispatch import Signal

environment_removing = Signal()
"""Sent before an environment's checkout is taken away. Provides `environment`."""
