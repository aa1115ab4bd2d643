"""The tables of the file, as numbered migrations."""
