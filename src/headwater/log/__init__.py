"""The log: the port, its values, and its engines.

ports, model    what every engine promises, and streams, records, positions
admission       what every engine refuses, pure
retention       when records may go, pure
progress        how far a group may say it is while work finishes out of order
scanning        a partition read to its end
engines         memory and sqlite; `config` and `metrics` as in every room
"""
