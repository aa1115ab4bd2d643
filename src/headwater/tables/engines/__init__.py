"""Databases that hold tables."""
