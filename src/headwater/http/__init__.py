"""ASGI plumbing of every role: serving, guard, routing, problems, clients. Knows no service.

messages        requests, responses and routes: all that an `api.py` needs, with `json` and `json_places` for what is in them
application     one role behind the ASGI interface: `guard`, `auth`, `routing`, `health`, `openapi`, `problems` and `fields` joined
serving         sockets: all that an application cannot see of HTTP/1.1. Decides with `framing` (heads), `deadline` (timers),
                `unsent` (memory)
listening       addresses, and taking them
tls             TLS between socket and HTTP; `certificates` reads the files for it
hosts           which names in `Host` are answered
config          limits, deadlines and clients; `metrics` as in every room
"""
