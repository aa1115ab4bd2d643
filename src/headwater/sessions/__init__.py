"""Sessions: an isolated, encrypted, expiring store of login sessions.

service         what can be done with sessions, over `finding` (look-ups, a miss as costly as a hit) and `upkeep` (what goes on beside them)
model           values, and the decisions that need neither keys nor storage
sealing         how a session becomes a row that tells nothing; `keys` has the service keys, `versions` what was seen of rows
generations     which sessions are revoked; `quotas` how much a namespace may take; `scanner` whose session a value is
turns           one save of a session after another
ports           what is needed of a database; `engines` are two of them
dropin          as Kask answers, `kask` in which words; `native` as it should be; `api` joins both
gate            who may do what: `clients`, `paths` and `shedding`; `quiet` keeps the log short
config          and `errors` and `metrics`, as in every room; `service_metrics` are those of what happens behind the requests
"""
