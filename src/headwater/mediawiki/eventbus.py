"""Events in the form in which a wiki's EventBus extension sends them; their schemas lie in `headwater/events/schemas`.

Source: EventBus of MediaWiki 1.39. Fields that a wiki's API does not tell are not here: all of them are optional in the schemas.
"""

import msgspec


class Meta(msgspec.Struct, frozen=True):
    """`meta` of an event."""

    uri: str
    id: str
    dt: str
    domain: str
    stream: str


class Performer(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who did it."""

    user_text: str
    user_id: int | None = None
    user_is_bot: bool | None = None


class Shown(msgspec.Struct, frozen=True):
    """Which parts of a revision everybody may see."""

    text: bool
    user: bool
    comment: bool


class PriorTitle(msgspec.Struct, frozen=True):
    """A page before its move."""

    page_title: str
    page_namespace: int


class LeftRedirect(msgspec.Struct, frozen=True):
    """The redirect that a move left at the old title."""

    page_id: int
    page_title: str
    page_namespace: int
    rev_id: int


class PriorTags(msgspec.Struct, frozen=True):
    """A revision's tags before they changed."""

    tags: tuple[str, ...] = ()


class PriorShown(msgspec.Struct, frozen=True):
    """A revision's visibility before it changed."""

    visibility: Shown


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event as it is sent: every field that any of the schemas has; what is None is left out."""

    schema: str = msgspec.field(name="$schema")
    meta: Meta
    database: str | None = None
    page_id: int | None = None
    page_title: str | None = None
    page_namespace: int | None = None
    page_is_redirect: bool | None = None
    rev_id: int | None = None
    rev_parent_id: int | None = None
    rev_timestamp: str | None = None
    rev_sha1: str | None = None
    rev_minor_edit: bool | None = None
    rev_len: int | None = None
    performer: Performer | None = None
    comment: str | None = None
    reason: str | None = None
    kind: str | None = None
    sha1: str | None = None
    tags: tuple[str, ...] | None = None
    page_restrictions: dict[str, str] | None = None
    visibility: Shown | None = None
    new_redirect_page: LeftRedirect | None = None
    prior_state: PriorTitle | PriorTags | PriorShown | None = None

    @property
    def stream(self) -> str:
        """Where it goes."""
        return self.meta.stream
