"""Purging: gets stale copies out of caches, in order, acknowledged.

service         the consumer of `resource-purge`: performs what the schedule decides, advances over what is finished
schedule        which purge is sent to which target when, pure; a `lanes` entry is what waits for one target
letters         dead letters: purges that were given up
address         what a purge may take from a URL, pure
api, status     HTTP, and what purging says of itself
model, ports    values, and what is needed from outside (`engines`); `config` and `metrics` as in every room
"""
