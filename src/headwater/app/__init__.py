"""The wiring: reads the configuration, builds engines, joins services to ports, starts, drains, stops."""
