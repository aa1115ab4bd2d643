"""Purging: gets stale copies out of caches, in order, acknowledged."""
