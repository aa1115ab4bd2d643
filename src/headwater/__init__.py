"""Headwater: the data layer behind sites made of pages that depend on each other."""

__version__ = "0.1.0"
