"""Migrations of `bodies.sqlite`."""
