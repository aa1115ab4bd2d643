"""Which streams exist, which schema each may carry, and in which order its records are kept.

Exact names win over patterns (a prefix and `*`), a longer prefix over a shorter one.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headwater.kernel.errors import InvalidConfig
from headwater.log.model import Policy, StreamSpec

_NAME = re.compile(r"[A-Za-z0-9._-]{1,200}")
_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,200}\*?")


@dataclass(frozen=True, slots=True)
class StreamRule:
    """What may go to a stream, or to every stream of a pattern.

    Attributes:
        name: the stream, or a prefix followed by `*`.
        schema_title: title of the schemas allowed on it, in any version.
        public: whether clients may post to it; otherwise only Headwater itself writes there.
    """

    name: str
    schema_title: str
    public: bool = True

    @property
    def is_pattern(self) -> bool:
        """Whether the rule is for every stream with a prefix."""
        return self.name.endswith("*")


BUILT_IN = (
    StreamRule("resource_change", "resource_change"),
    StreamRule("resource-purge", "resource_change"),
    StreamRule("mediawiki.page-create", "mediawiki/revision/create"),
    StreamRule("mediawiki.revision-create", "mediawiki/revision/create"),
    StreamRule("mediawiki.revision-visibility-change", "mediawiki/revision/visibility-change"),
    StreamRule("mediawiki.revision-tags-change", "mediawiki/revision/tags-change"),
    StreamRule("mediawiki.page-delete", "mediawiki/page/delete"),
    StreamRule("mediawiki.page-suppress", "mediawiki/page/delete"),
    StreamRule("mediawiki.page-undelete", "mediawiki/page/undelete"),
    StreamRule("mediawiki.page-move", "mediawiki/page/move"),
    StreamRule("mediawiki.page-links-change", "mediawiki/page/links-change"),
    StreamRule("mediawiki.page-properties-change", "mediawiki/page/properties-change"),
    StreamRule("mediawiki.page-restrictions-change", "mediawiki/page/restrictions-change"),
    StreamRule("mediawiki.user-blocks-change", "mediawiki/user/blocks-change"),
    StreamRule("mediawiki.recentchange", "mediawiki/recentchange"),
    StreamRule("mediawiki.job.*", "mediawiki/job"),
    StreamRule("headwater.file-change", "headwater/file-change", public=False),
    StreamRule("headwater.page-changed", "headwater/page-changed", public=False),
)


class StreamTable:
    """The rules of all streams."""

    def __init__(self, rules: Sequence[StreamRule] = BUILT_IN) -> None:
        self._exact: dict[str, StreamRule] = {}
        patterns: list[StreamRule] = []
        for rule in rules:
            if _PATTERN.fullmatch(rule.name) is None:
                raise InvalidConfig("a stream is named [A-Za-z0-9._-]{1,200}, a pattern ends in `*`", where=f"events.streams.{rule.name}")
            if rule.is_pattern:
                patterns.append(rule)
            else:
                self._exact[rule.name] = rule
        self._patterns = sorted(patterns, key=lambda rule: -len(rule.name))

    @property
    def names(self) -> Sequence[str]:
        """Streams with a name of their own, ordered; those of patterns exist once something is posted to them."""
        return sorted(self._exact)

    @property
    def rules(self) -> Sequence[StreamRule]:
        """All rules: exact names in order, then patterns."""
        return [self._exact[name] for name in self.names] + self._patterns

    def rule_of(self, stream: str) -> StreamRule | None:
        """The rule of a stream, or None if there is no such stream."""
        rule = self._exact.get(stream)
        if rule is not None:
            return rule
        for pattern in self._patterns:
            if stream.startswith(pattern.name[:-1]) and len(stream) >= len(pattern.name) and _NAME.fullmatch(stream):
                return pattern
        return None


def spec_of(stream: str, *, age_ms_max: int, bytes_max: int) -> StreamSpec:
    """How an event stream is declared in the log: trimmed by age and size, one partition."""
    return StreamSpec(stream, Policy.TIME, age_ms_max=age_ms_max, bytes_max=bytes_max)


def partition_key(event: Mapping[str, object]) -> bytes | None:
    """The key that keeps the events of one page, or of one address, in order; None for an event of neither.

    `<domain>:<page_id>` where the event has a page id, `<domain>:<uri>` for changes of resources.
    """
    meta = event["meta"]
    assert isinstance(meta, dict)
    domain = meta.get("domain", "")
    page_id = event.get("page_id")
    if isinstance(page_id, int | float):
        return f"{domain}:{int(page_id)}".encode()
    schema = event["$schema"]
    if isinstance(schema, str) and schema.lstrip("/").startswith("resource_change/"):
        return f"{domain}:{meta['uri']}".encode()
    return None
