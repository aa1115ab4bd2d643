"""Adapters of the console."""
