"""Telling people of events: destinations choose some, each is delivered at least once and in order.

fanout      which new events a destination wants, once each
delivery    one destination's queue: messages, attempts, giving up
notifier    the daemon's loop over both
destinations, deliveries    what operators do
"""
