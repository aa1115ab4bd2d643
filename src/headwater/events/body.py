"""Splits a request body into events without touching a byte of them. Pure."""

import msgspec

from headwater.http.json import parse
from headwater.kernel.errors import InvalidInput

_WHITESPACE = b" \t\r\n"
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


def split(body: bytes) -> list[bytes]:
    """The events in `body`: one JSON object, or the elements of an array, each as the bytes between its first and last character.

    The elements themselves are examined later; only what divides them is judged here.

    Raises:
        InvalidInput: nothing, `{}`, an empty array, a scalar, or not JSON.
    """
    stripped = body.strip(_WHITESPACE)
    if stripped.startswith(b"{"):
        events = [] if not stripped[1:-1].strip(_WHITESPACE) else [stripped]
    elif stripped.startswith(b"["):
        events = _elements(stripped)
    elif stripped:
        parse(stripped)  # says what is malformed; what is not is a scalar
        raise InvalidInput("the body is one event (an object) or an array of events", where="")
    else:
        events = []
    if not events:
        raise InvalidInput("there is no event in the body", where="")
    return events


def _elements(body: bytes) -> list[bytes]:
    try:
        return [bytes(element) for element in _ARRAY.decode(body)]
    except RecursionError as error:
        raise InvalidInput("JSON is nested too deeply", where="") from error
    except msgspec.DecodeError as error:
        parse(body)  # says better what is wrong, and where
        raise InvalidInput(str(error), where="") from error
