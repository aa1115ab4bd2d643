"""Engines of propagation: one adapter per technology, strangers to each other."""
