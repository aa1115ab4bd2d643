"""Which names in `Host` are answered.

A browser on this machine reaches what listens on loopback, and a web site can let a name of its own point there: then its page is of the
same origin as the answers, and reads them (DNS rebinding). Such a request carries that name in `Host`, so no such name is answered.
"""

import re
from collections.abc import Iterable, Sequence

from headwater.http.auth import is_loopback
from headwater.http.config import parse_listen

_NAME = re.compile(r"[a-z0-9._-]+|\[[0-9a-f:.]+\]")
_PORT = re.compile(r":[0-9]{0,5}\Z")
_REMEMBERED_MAX = 64


class Hosts:
    """Names that are answered, in lower case, IPv6 addresses in brackets; beside them every name of loopback. Any port."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)
        self._answered: set[bytes] = set()

    def answer(self, headers: Iterable[tuple[bytes, bytes]]) -> bool:
        """Whether a request with these headers (lower-case names) is for one of them."""
        return all(value in self._answered or self._is_ours(value) for name, value in headers if name == b"host")

    def _is_ours(self, value: bytes) -> bool:
        name = _PORT.sub("", value.decode("latin-1").strip(" \t")).lower()
        ours = name in self._names or is_loopback(name.strip("[]"))
        if ours and len(self._answered) < _REMEMBERED_MAX:
            self._answered.add(value)
        return ours


def hosts_of(listen: str, names: Sequence[str]) -> Hosts | None:
    """What is answered at an address, as host:port; None: every well-formed name, since what listens beyond loopback has names of its own.

    Raises:
        InvalidConfig: `listen` is no address.
    """
    host, _ = parse_listen(listen)
    if not names and not is_loopback(host):
        return None
    return Hosts({*names, f"[{host}]" if ":" in host else host.lower()})


def is_host(name: str) -> bool:
    """Whether `name` is one as it is configured: a name in lower case or an address, IPv6 in brackets, without a port."""
    return _NAME.fullmatch(name) is not None
