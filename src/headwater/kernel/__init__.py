"""The ground floor: errors, clock, ids, configuration, metrics, logging, units. Imports nothing of Headwater.

errors          the error tree: every error that leaves a room
clock, ids      time and randomness, as ports
durability      small files, written so that a power cut leaves the old or the new one
concurrency     tasks beside each other: the first of several, until the stop, in slices; `waiting` for what comes next,
                `gathering` what is done for many at once
config          types of the sections; `configfile` reads the file, `configtree` knows where a value stands, `configschema` describes
units           `30s`, `64KiB`
metrics         the catalogue: each metric declared once
logging         one JSON object per line
failpoints      places where a test stops the process as a kill would
loopwatch       how long callbacks hold the event loop; `collecting` keeps the garbage collector from doing so
"""
