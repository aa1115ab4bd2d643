"""Engines of events: one adapter per technology, strangers to each other."""
