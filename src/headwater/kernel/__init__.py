"""The ground floor: errors, clock, ids, configuration, metrics, logging, units. Imports nothing of Headwater."""
