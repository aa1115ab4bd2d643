"""Events: the intake, checked against schemas, durable before it answers.

service         the use case: examine, tell apart from what is known, make durable
api, body       HTTP in and out; a body is split into events without touching a byte
examination     one event: JSON, stream, permission, schema; pure. Its rules: `schemas` (files) and `streams` (which may carry which)
identity        under which keys an event is known, pure
claims          events under way: who comes second waits for the first
deduplication   which events are known: index, what waits for it, what is in doubt
writer          claimed events → the log, one append at a time
model, ports    values, and what is needed from outside (`engines`); `config` and `metrics` as in every room
"""
