"""The tables, as numbered migrations."""
