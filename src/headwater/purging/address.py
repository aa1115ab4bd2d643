"""From a URL in an event to what a purge may take from it: the Host header and the path. Pure.

Invariant: nothing in a URL decides which machine is contacted; that is the target's own address in the configuration. So an address is
refused unless it is exactly scheme, host and path in visible ASCII.
"""

import re
from dataclasses import dataclass
from urllib.parse import quote

from headwater.kernel.errors import InvalidInput

URL_CHARACTERS_MAX = 8192

_FORM = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", re.IGNORECASE | re.DOTALL)
_HOST = re.compile(r"(?:[a-z0-9](?:[a-z0-9._-]{0,252})|\[[0-9a-f:.]{2,45}\])(?::([0-9]{1,5}))?")
_UNSAFE = re.compile(r"[\x00-\x20\x7f\\]")
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Address:
    """What a cache files a copy under.

    Attributes:
        host: value of the Host header as a browser sends it: lower case, without the scheme's default port.
        path: request target in origin form: begins with `/`, percent-encoded, with the query.
    """

    host: str
    path: str


def address_of(url: str) -> Address:
    """The address that `url` names; a fragment is dropped, characters beyond ASCII in the path are percent-encoded as UTF-8.

    Raises:
        InvalidInput: not http or https, user information, a malformed host or port, blanks or control characters, or too long.
    """
    if len(url) > URL_CHARACTERS_MAX:
        raise InvalidInput(f"the URL has more than {URL_CHARACTERS_MAX} characters", where="/meta/uri")
    if _UNSAFE.search(url):
        raise InvalidInput("the URL has a blank, a control character or a backslash", where="/meta/uri")
    parts = _FORM.fullmatch(url)
    if parts is None:
        raise InvalidInput("the URL is not http:// or https:// with a host", where="/meta/uri")
    scheme, host, path = parts[1].lower(), parts[2].lower(), parts[3]
    if "@" in host:
        raise InvalidInput("the URL holds user information", where="/meta/uri")
    form = _HOST.fullmatch(host)
    if form is None or (form[1] is not None and not 0 < int(form[1]) < 65536):
        raise InvalidInput("the URL's host or port is malformed", where="/meta/uri")
    if not path.startswith("/"):
        path = "/" + path
    return Address(host=host.removesuffix(_DEFAULT_PORTS[scheme]), path=_ascii(path))


def _ascii(path: str) -> str:
    try:
        return quote(path, safe=_VISIBLE)
    except UnicodeEncodeError as error:
        raise InvalidInput("the URL holds a lone surrogate", where="/meta/uri") from error
