"""Where in a text of JSON something stands that made it be refused: looked for only then, so that what is right pays nothing. Pure."""

import json
import math
import re

from headwater.kernel.errors import InvalidInput

Place = tuple[str | int, ...]
"""Names of members and numbers of elements, from the outermost inwards."""

TOKENS_MAX = 100_000
"""What is looked through at most; behind it no place is found. A batch of 1,000 rows with 40 columns has fewer."""
NAME_CHARS_MAX = 100
NAMES_SHOWN_MAX = 8
_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[{}\[\],]', re.DOTALL)


class InvalidJson(InvalidInput):
    """A text is not JSON, or nested too deep.

    Attributes:
        place: of the value at fault; empty where that is the text as a whole, or was not found.
    """

    def __init__(self, detail: str, *, place: Place) -> None:
        super().__init__(detail, where=pointer(place) if place else None)
        self.place = place


def pointer(place: Place) -> str:
    """`place` as a path: `/rows/3/attributes/title`."""
    return "".join(f"/{part}" for part in place[:NAMES_SHOWN_MAX])


def place_in(body: bytes, at: int) -> Place:
    """The place of the value that holds the character number `at` of `body`, up to which it is well-formed JSON.

    Where it is not UTF-8 there is no such number: then it is that of the first byte at fault.
    """
    try:
        return _place_in(body.decode(), at)
    except UnicodeDecodeError as error:
        before = body[: error.start].decode()
        return _place_in(before, len(before))


def deep_place(body: bytes, levels: int) -> Place:
    """The place of the first array or object in `body` that is nested deeper than `levels`; empty where it was not found."""
    text = body.decode(errors="replace")
    return _place_in(text, len(text), levels=levels)


def _place_in(text: str, at: int, *, levels: float = math.inf) -> Place:
    """The place of what is open at a character, or of the first array or object nested deeper than `levels` before it."""
    outer: list[str | int | None] = []  # of each open array its present element, of each object its present member, None before its name
    for number, token in enumerate(_TOKEN.finditer(text, 0, at)):
        if number >= TOKENS_MAX:
            return ()
        first = token[0][0]
        if len(outer) == levels and first in "{[":
            break
        match first:
            case "{":
                outer.append(None)
            case "[":
                outer.append(0)
            case "," if outer:
                last = outer[-1]
                outer[-1] = last + 1 if isinstance(last, int) else None
            case "}" | "]" if outer:
                outer.pop()
            case '"' if outer and outer[-1] is None:
                name = _name(token[0])
                if name is None:
                    break  # the name itself is at fault, so it is the object that is
                outer[-1] = name
    return tuple(part for part in outer if part is not None)


def _name(token: str) -> str | None:
    try:
        name = json.loads(token)
    except ValueError:
        return None
    assert isinstance(name, str)
    return name[:NAME_CHARS_MAX].encode(errors="replace").decode()
