"""Titles of the built-in wiki: namespaces and normal forms, by MediaWiki's rules for a wiki with `first-letter` case."""

import re
from dataclasses import dataclass

from headwater.kernel.errors import InvalidInput

NAMESPACES = {
    -2: "Media",
    -1: "Special",
    0: "",
    1: "Talk",
    2: "User",
    3: "User talk",
    4: "Project",
    5: "Project talk",
    6: "File",
    7: "File talk",
    8: "MediaWiki",
    9: "MediaWiki talk",
    10: "Template",
    11: "Template talk",
    12: "Help",
    13: "Help talk",
    14: "Category",
    15: "Category talk",
}
MAIN, FILE, TEMPLATE, CATEGORY = 0, 6, 10, 14
TITLE_BYTES_MAX = 255

_NUMBERS = {name.lower(): number for number, name in NAMESPACES.items() if name} | {"image": FILE}
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f#<>\[\]{}|]|%[0-9A-Fa-f]{2}")
_BLANKS = re.compile(r"[ _\u00a0]+")


@dataclass(frozen=True, slots=True)
class PageTitle:
    """A title in normal form.

    Attributes:
        namespace: number.
        name: without the namespace, with blanks.
    """

    namespace: int
    name: str

    @property
    def text(self) -> str:
        """With namespace and blanks, as the action API returns it."""
        prefix = NAMESPACES[self.namespace]
        return f"{prefix}:{self.name}" if prefix else self.name

    @property
    def key(self) -> str:
        """With namespace and underscores, as it stands in addresses."""
        return self.text.replace(" ", "_")


def parse_title(text: str, default_namespace: int = MAIN) -> PageTitle:
    """The title that `text` names.

    Args:
        text: as people write it; a leading colon asks for the main namespace.
        default_namespace: of a text without a prefix (that of templates inside `{{…}}`).

    Raises:
        InvalidInput: empty, too long, or with characters that titles cannot have.
    """
    plain = _BLANKS.sub(" ", text).strip()
    namespace = default_namespace
    if plain.startswith(":"):
        namespace, plain = MAIN, plain[1:].strip()
    prefix, colon, rest = plain.partition(":")
    number = _NUMBERS.get(prefix.strip().lower())
    if colon and number is not None:
        namespace, plain = number, rest.strip()
    if not plain or _FORBIDDEN.search(plain) or len(plain.encode()) > TITLE_BYTES_MAX:
        raise InvalidInput("not a title that a page can have", where="title")
    return PageTitle(namespace, plain[0].upper() + plain[1:])
