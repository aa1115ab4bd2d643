"""For tests: the laws that every engine passes, a clock that tests move, fakes.

log_laws            of the port `Log`; `body_laws` and `checkpoint_laws` of the stores of propagation
table_laws          of the stores of tables; `linearizability` of what several callers saw of a row
session_laws        of the port of sessions; `sessions_world` is the service on a clock that a test moves
clock, ids          time that a test moves, ids that it can predict
faults              a disk that counts, remembers and fails
fakewiki            a small wiki that renders; `propagation_world` is propagation of it, which can crash and start again
shard_simulation    a small world around the shard alone, for the mutants and the state machine
"""
