"""Where a page ended, as a token that only this deployment can have made, good for the same reading and no other. Pure.

A token holds the key of the last row (keyset paging), so writes in between neither repeat nor hide another row. It is bound to its space,
its partition, its bounds and its direction: what is asked of each row, how many, and the table's version may change between pages.
Form: base64url without padding of a byte of version, 16 bytes of HMAC-SHA256 over version, scope and position, and the position.
"""

import base64
import binascii
import hmac
from typing import NewType

import msgspec

from headwater.tables.errors import InvalidPagingToken
from headwater.tables.model import ClusteringKey, PartitionKey, Place, Slice, SpaceId

Scope = NewType("Scope", bytes)
"""What a token is good for."""

_VERSION = b"\1"
_MAC_BYTES = 16


def scope_of(slice: Slice) -> Scope:
    """The reading of a slice, from wherever and however many rows."""
    bound = ("slice", slice.space, slice.partition, slice.lower, slice.upper, slice.backwards)
    return Scope(msgspec.msgpack.encode(bound))


def scope_of_walk(space: SpaceId) -> Scope:
    """The walk over all rows of a space."""
    return Scope(msgspec.msgpack.encode(("walk", space)))


class Tokens:
    """Makes tokens and reads them.

    Args:
        secret: of the deployment, at least 32 random bytes; whoever has it can make tokens.
    """

    def __init__(self, secret: bytes) -> None:
        assert len(secret) >= 32, "the secret is too short"
        self._secret = secret

    def of_page(self, slice: Slice, last: ClusteringKey) -> str:
        """The token with which the reading of `slice` goes on beyond `last`."""
        return self._issue(scope_of(slice), last)

    def read_page(self, token: object, slice: Slice) -> ClusteringKey:
        """Where the reading of `slice` goes on. Raises InvalidPagingToken: not a token, forged, or of another reading."""
        return ClusteringKey(self._read(token, scope_of(slice)))

    def of_walk(self, space: SpaceId, last: Place) -> str:
        """The token with which a walk goes on beyond `last`."""
        return self._issue(scope_of_walk(space), msgspec.msgpack.encode(last))

    def read_walk(self, token: object, space: SpaceId) -> Place:
        """Where a walk goes on. Raises as `read_page`."""
        partition, clustering = msgspec.msgpack.decode(self._read(token, scope_of_walk(space)), type=tuple[bytes, bytes | None])
        return PartitionKey(partition), None if clustering is None else ClusteringKey(clustering)

    def _issue(self, scope: Scope, position: bytes) -> str:
        return base64.urlsafe_b64encode(_VERSION + self._mac(scope, position) + position).rstrip(b"=").decode("ascii")

    def _read(self, token: object, scope: Scope) -> bytes:
        try:
            if not isinstance(token, str):
                raise ValueError
            raw = binascii.a2b_base64(token.translate(_STANDARD) + "=" * (-len(token) % 4), strict_mode=True)
        except ValueError:
            raise InvalidPagingToken("next is not a token that an answer gave", where="next") from None
        mac, position = raw[1 : 1 + _MAC_BYTES], raw[1 + _MAC_BYTES :]
        if raw[:1] != _VERSION or not hmac.compare_digest(mac, self._mac(scope, position)):
            raise InvalidPagingToken("next is not a token that an answer to the same query gave", where="next")
        return position

    def _mac(self, scope: Scope, position: bytes) -> bytes:
        signed = _VERSION + msgspec.msgpack.encode((scope, position))
        return hmac.digest(self._secret, signed, "sha256")[:_MAC_BYTES]


_STANDARD = str.maketrans({"-": "+", "_": "/", "+": " ", "/": " "})
