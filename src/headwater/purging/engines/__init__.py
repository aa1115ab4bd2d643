"""Engines of purging: one adapter per technology, strangers to each other."""
