"""A configuration as written: values that know where they stand, before any type is known.

A tree comes from a YAML file and from the environment; the environment's values replace the file's.
"""

from dataclasses import dataclass, field

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from headwater.kernel.errors import InvalidConfig

FILE_BYTES_MAX = 1024 * 1024
NODES_MAX = 100_000
DEPTH_MAX = 32

_PREFIX = "tag:yaml.org,2002:"


@dataclass(slots=True)
class Leaf:
    """A value without options inside. `text` is True for the environment's, which are parsed by the type of the option."""

    value: object
    origin: str
    text: bool = False


@dataclass(slots=True)
class Sequence:
    """A list of values."""

    items: list["Tree"]
    origin: str


@dataclass(slots=True)
class Mapping:
    """Options, or entries of a dictionary, by key."""

    entries: dict[str, "Tree"]
    origin: str
    key_origins: dict[str, str] = field(default_factory=dict)


Tree = Leaf | Sequence | Mapping


def parse_yaml(text: str, *, name: str) -> Mapping:
    """The tree that a YAML 1.2 document means; an empty one has no options.

    Raises:
        InvalidConfig: not YAML, a key twice, keys that are no text, or more nodes than a configuration has (aliases multiply them).
    """
    if len(text) > FILE_BYTES_MAX:
        raise InvalidConfig(f"the file exceeds {FILE_BYTES_MAX} bytes", where=name)
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise InvalidConfig(f"not valid YAML: {error.problem}", where=f"{name}{line}") from error
    except YAMLError as error:
        raise InvalidConfig(f"not valid YAML: {error}", where=name) from error
    if root is None:
        return Mapping({}, name)
    tree = _Reader(yaml, name).read(root, 0)
    if isinstance(tree, Leaf) and tree.value is None:
        return Mapping({}, name)
    if not isinstance(tree, Mapping):
        raise InvalidConfig("the file must hold options as `name: value`", where=f"{name}:1")
    return tree


class _Reader:
    def __init__(self, yaml: YAML, name: str) -> None:
        self._yaml = yaml
        self._name = name
        self._nodes_left = NODES_MAX

    def read(self, node: Node, depth: int) -> Tree:
        self._nodes_left -= 1
        origin = f"{self._name}:{node.start_mark.line + 1}"
        if self._nodes_left < 0 or depth > DEPTH_MAX:
            raise InvalidConfig("the file is larger or deeper than any configuration", where=origin)
        if isinstance(node, MappingNode):
            return self._mapping(node, origin, depth)
        if isinstance(node, SequenceNode):
            return Sequence([self.read(item, depth + 1) for item in node.value], origin)
        assert isinstance(node, ScalarNode)
        return Leaf(self._scalar(node, origin), origin)

    def _mapping(self, node: MappingNode, origin: str, depth: int) -> Mapping:
        mapping = Mapping({}, origin)
        for key_node, value_node in node.value:
            key_origin = f"{self._name}:{key_node.start_mark.line + 1}"
            if not isinstance(key_node, ScalarNode) or key_node.tag == f"{_PREFIX}merge":
                raise InvalidConfig("a name must be plain text", where=key_origin)
            if key_node.value in mapping.entries:
                raise InvalidConfig(f"`{key_node.value}` is given twice, first at {mapping.key_origins[key_node.value]}", where=key_origin)
            mapping.entries[key_node.value] = self.read(value_node, depth + 1)
            mapping.key_origins[key_node.value] = key_origin
        return mapping

    def _scalar(self, node: ScalarNode, origin: str) -> object:
        if node.tag in (f"{_PREFIX}timestamp", f"{_PREFIX}str"):
            return node.value
        if node.tag not in {f"{_PREFIX}{kind}" for kind in ("int", "float", "bool", "null")}:
            raise InvalidConfig(f"the tag {node.tag} is not understood", where=origin)
        value: object = self._yaml.constructor.construct_object(node)
        return value
