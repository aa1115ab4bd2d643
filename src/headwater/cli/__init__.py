"""The `headwater` command: parses, calls, prints. It decides nothing."""
