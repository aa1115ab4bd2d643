"""Migrations of `shard-<wiki>.sqlite`."""
