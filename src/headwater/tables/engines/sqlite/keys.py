"""Keys of the file: one BLOB per row, so that the rows of a partition lie together and in order.

    space (8 bytes) | length of the partition key (2) | partition key | 0x00                        the static row
                                                                      | 0x01 | clustering key       a row

The length makes a key readable without knowing the table; integers are big-endian. Partitions come in the order of this, which means
nothing; rows come in that of their clustering keys.
"""

from headwater.tables.model import ClusteringKey, PartitionKey, SpaceId

_SPACE_BYTES = 8
_HEAD_BYTES = 10
STATIC = b"\x00"
ROW = b"\x01"
BEYOND = b"\x02"
KEY_HEAD_BYTES = _HEAD_BYTES + len(ROW)
"""Of the key of a row, beside its partition key and its clustering key."""


def space_prefix(space: int) -> bytes:
    """What the keys of a space begin with; that of the next number is above all of them."""
    return space.to_bytes(_SPACE_BYTES)


def partition_prefix(space: SpaceId, partition: PartitionKey) -> bytes:
    """What the keys of a partition begin with."""
    return space.to_bytes(_SPACE_BYTES) + len(partition).to_bytes(2) + partition


def row_key(prefix: bytes, clustering: ClusteringKey | None) -> bytes:
    """The key of a row, or of the static row, in the partition with that prefix."""
    return prefix + STATIC if clustering is None else prefix + ROW + clustering


def point_key(space: SpaceId, partition: PartitionKey, clustering: ClusteringKey) -> bytes:
    """The key of a row, in one step."""
    return b"%b%b%b\x01%b" % (space.to_bytes(_SPACE_BYTES), len(partition).to_bytes(2), partition, clustering)


def split(key: bytes) -> tuple[SpaceId, PartitionKey, ClusteringKey | None]:
    """The parts of a row's key."""
    end = _HEAD_BYTES + int.from_bytes(key[_SPACE_BYTES:_HEAD_BYTES])
    clustering = None if key[end] == STATIC[0] else ClusteringKey(key[end + 1 :])
    return SpaceId(int.from_bytes(key[:_SPACE_BYTES])), PartitionKey(key[_HEAD_BYTES:end]), clustering


def partition_of(key: bytes) -> PartitionKey:
    """The partition in the key of a partition."""
    return PartitionKey(key[_HEAD_BYTES:])
