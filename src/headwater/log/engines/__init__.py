"""Engines of log: one adapter per technology, strangers to each other."""
