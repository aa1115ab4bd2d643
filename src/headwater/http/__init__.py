"""ASGI plumbing of every role: serving, guard, routing, problems, clients. Knows no service."""
