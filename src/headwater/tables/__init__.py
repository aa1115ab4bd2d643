"""Tables that teams declare over HTTP, and rows in them.

model        the values that everything here is made of
types        the 13 column types and their sets: JSON in and out, stored form, order
encoding     keys as bytes whose order is the order of the rows
schema       what a client declares, checked and normalised; `migration` what may change; `forecast` what a partition will take
groups       which domains share their schemas
planner      requests as plans that every engine can carry out, or a refusal that says why: `slices` of rows to read or delete, `conditions`
             and `write_plans` of rows to write, `column_plans` under all of them
usual        the commonest requests, recognised before they are planned; `points` carries out those of one moment together
showing      rows as JSON; `rewriting` as the writes that make them again
rows         what a write makes of a row: cells, markers, expiry, conditions
tokens       where a page of a query ended, signed
ports        what tables need of a database; `engines` are those
openapi      the description of one table, with its columns; `jsonschemas` of their types
catalogue    which tables there are, how they come, change and go; `quotas` what they may take
service      the use cases; `api` their HTTP, `streaming` of changes, `clients` who may, `config` the section `tables`
errors       what can go wrong with tables only; `metrics` what is counted, `latencies` how long it took
"""
