"""The log: the port, its values, and its engines."""
