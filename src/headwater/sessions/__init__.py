"""Sessions: an isolated, encrypted, expiring store of login sessions. Imports the kernel, `http` and `sqlite`, and no other service.

service         use cases: save, read, end, rotate, revoke; with `finding` (looking up), `upkeep` (beside the requests), `versions`
model, errors   values and the decisions about them, pure; what can stand in the way of a write
sealing, keys   how a session becomes a row, pure; the ring of service keys and its files
generations     what revokes a subject or a namespace; `quotas` is how much a namespace may take
scanner         whose session a value is, where MediaWiki wrote it, pure
ports           what is needed of a database; `engines` do it
api             HTTP: joins `dropin` (in the manner of `kask`, below `paths`) and `native`
gate            what both interfaces ask first: `clients` and their budgets, `shedding`; `quiet` keeps logs short
config          namespaces, clients and limits; `metrics`, and `service_metrics` of what happens behind requests
"""
