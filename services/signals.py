"""What rooms above services may listen to; services never know who does."""

from django.dispatch import Signal

service_starting = Signal()
"""Sent before somebody's wish to start or restart a service is written down, in no transaction. Provides `service`.

Who makes services of some kind may bring the definition up to date, or refuse by raising a GaiaError.
"""
