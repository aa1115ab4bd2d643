"""The wiring: reads the configuration, builds engines, joins services to ports, starts, drains, stops.

platform        the process, from the lock of the data directory to its end; `signals` and `reloading` reach it from outside
running         serves roles until the stop, in whichever process; `tending` watches loop and memory there, `process_metrics` are its own
sessions_process    the process of sessions, which loads no other service; `supervisor` keeps it running beside `platform`,
                    `standard_input` tells it when that is gone
sessions_config     what that process reads of the file; `sessions_files` is backup, restore and keys
hardening       no core dumps, no swap; `descriptors` as many open files as connections need
tls             TLS of all listeners of a process, read at the start and again
roles           what a role is; `events_role`, `propagation_role`, `purging_role`, `tables_role` and `console_role` build
                one each from `surroundings`
storage         the data directory and its files; `tables_files` is backup and restore of one of them
maintenance     upkeep of the log
config          the whole file, with `logging_config`; `checking` finds what a start would refuse
metrics         the catalogue of all rooms
reference       pages of the documentation made from the code, `reference_routes` those of the HTTP API
demonstration   the demo: Headwater between the wiki and the cache of `demo`; `demo_drive` drives it, `demo_edits` are its edits
"""
