"""The wiring: reads the configuration, builds engines, joins services to ports, starts, drains, stops.

platform        the process, from the lock of the data directory to its end; `signals` and `reloading` reach it from outside
roles           what a role is; `events_role`, `propagation_role`, `purging_role` and `console_role` build one each from `surroundings`
storage         the data directory and its files
maintenance     upkeep of the log, the watch over the event loop
config          the whole file; `checking` finds what a start would refuse
metrics         the catalogue of all rooms
reference       pages of the documentation made from the code, `reference_routes` those of the HTTP API
demonstration   the demo: Headwater between the wiki and the cache of `demo`; `demo_drive` drives it, `demo_edits` are its edits
"""
