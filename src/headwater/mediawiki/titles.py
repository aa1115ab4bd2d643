"""Titles by the wiki's own rules: prefixed database keys, and the way between them and addresses. Pure.

The rules are those of MediaWikiTitleCodec::splitTitleString of MediaWiki 1.39: NFC, blanks of every kind are `_`, the namespace is found
by any of its names in any case, the first letter is upper case unless the namespace says otherwise. Nothing is case-folded beyond that.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NewType
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from headwater.kernel.errors import InvalidInput
from headwater.mediawiki.answers import SiteQuery

DbKey = NewType("DbKey", str)  # prefixed database key: `Template:Cite_web`

FILE_NAMESPACE = 6
TITLE_BYTES_MAX = 255
_SPECIAL_NAMESPACE = -1
_TALK_NAMESPACE = 1
_LOCAL_PREFIXES_MAX = 8  # prefixes of this very wiki before a title, each of which is dropped
_BLANKS = re.compile("[ _\u00a0\u1680\u180e\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_DIRECTION_MARKS = re.compile("[\u200e\u200f\u202a-\u202e]")
# Characters and sequences that no title may hold: control characters, wiki syntax, percent and entity escapes.
_ILLEGAL = re.compile(r"[\x00-\x1f\x7f<>\[\]{}|#�]|%[0-9A-Fa-f]{2}|&[A-Za-z0-9\x80-\U0010ffff]+;|&#\d+;|&#x[0-9A-Fa-f]+;")
_RELATIVE = re.compile(r"(^|/)\.{1,2}(/|$)")
_PREFIX = re.compile(r"^(.+?)_*:_*(.*)$", re.DOTALL)
_LEFT_AS_IS = ";@$!*(),/~:"  # what MediaWiki's wfUrlencode leaves as it is


def encode_title(title: str) -> str:
    """`title` as it stands in the path of an address, exactly as MediaWiki's own addresses have it."""
    return quote(title, safe=_LEFT_AS_IS)


@dataclass(frozen=True, slots=True)
class SiteInfo:
    """What a wiki says about itself that its titles and addresses depend on.

    Attributes:
        wikiid: the wiki's database name.
        server: scheme and host of its addresses; the scheme may be missing.
        articlepath: path of a page's view with `$1` for its title.
        script: path of `index.php`.
        names: every name of every namespace, in lower case with `_`, → its number.
        local_names: the name that titles are written with, by number.
        case_sensitive: namespaces whose first letter stays as it is.
        interwiki: lower-case prefixes that lead to other wikis.
        local_interwiki: lower-case prefixes that lead to this wiki itself.
        lifetime_s_max: how long this wiki's parser cache keeps what nothing shortens; None when unknown.
        time_offset_min: minutes by which the wiki's local time is ahead of UTC now.
    """

    wikiid: str
    server: str
    articlepath: str
    script: str
    names: Mapping[str, int]
    local_names: Mapping[int, str]
    case_sensitive: frozenset[int]
    interwiki: frozenset[str]
    local_interwiki: frozenset[str] = frozenset()
    lifetime_s_max: int | None = None
    time_offset_min: int = 0

    def normalise(self, text: str) -> DbKey:
        """The prefixed database key that this wiki gives to `text`.

        Raises:
            InvalidInput: no page of this wiki can have such a title: illegal characters, too long, empty, or a prefix of another wiki.
        """
        text = _BLANKS.sub("_", _DIRECTION_MARKS.sub("", unicodedata.normalize("NFC", text))).strip("_")
        if text.startswith(":"):  # an initial colon only says that no other namespace is the default
            text = text[1:].strip("_")
        namespace, rest = self._split(text)
        _check(rest, special=namespace == _SPECIAL_NAMESPACE)
        if namespace not in self.case_sensitive:
            rest = upper_first(rest)
        return self.key_of(namespace, rest)

    def _split(self, text: str) -> tuple[int, str]:
        """The namespace that `text` names, and the rest; 0 and all of it where it names none."""
        for _ in range(_LOCAL_PREFIXES_MAX):
            match = _PREFIX.match(text)
            if match is None:
                return 0, text
            prefix, rest = match[1].lower(), match[2]
            if prefix in self.names:
                inner = _PREFIX.match(rest) if self.names[prefix] == _TALK_NAMESPACE else None
                if inner is not None and (inner[1].lower() in self.names or inner[1].lower() in self.interwiki):
                    raise InvalidInput("a talk page cannot be named with two prefixes")
                return self.names[prefix], rest
            if prefix in self.interwiki:
                raise InvalidInput(f"the prefix {match[1]!r} belongs to another wiki")
            if prefix not in self.local_interwiki:
                return 0, text
            text = rest
        raise InvalidInput("the title has too many prefixes")

    def key_of(self, namespace: int, name: str) -> DbKey:
        """The prefixed database key of `name` (blanks or `_`) in `namespace`."""
        prefix = self.local_names.get(namespace, "")
        return DbKey(f"{prefix}:{name}".replace(" ", "_") if prefix else name.replace(" ", "_"))

    def namespace_of(self, key: str) -> int:
        """The namespace of a prefixed database key."""
        return self.names.get(key.partition(":")[0].lower(), 0) if ":" in key else 0

    def url_of(self, key: DbKey) -> str:
        """The address of a page's view, as the wiki writes it."""
        server = self.server if "://" in self.server else f"https:{self.server}"
        return server + self.articlepath.replace("$1", encode_title(key))

    def title_of_url(self, url: str) -> DbKey | None:
        """The page that an address of this wiki shows (view, history or another action), or None if it shows none.

        The host is not looked at: a caller that cares compares it with the wiki's domains.
        """
        parts = urlsplit(url)
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name == "title":
                return self._valid(value)
        before, _, after = self.articlepath.partition("$1")
        if "?" in before or not parts.path.startswith(before) or not parts.path.endswith(after):
            path_of_script = self.script + "/"
            if not parts.path.startswith(path_of_script):
                return None
            before, after = path_of_script, ""
        return self._valid(unquote(parts.path[len(before) : len(parts.path) - len(after)]))

    def _valid(self, text: str) -> DbKey | None:
        try:
            return self.normalise(text)
        except InvalidInput:
            return None


def _check(rest: str, *, special: bool) -> None:
    if not rest or rest.startswith(":"):
        raise InvalidInput("the title is empty")
    if _ILLEGAL.search(rest):
        raise InvalidInput("the title holds characters that no title may hold")
    if _RELATIVE.search(rest) or "~~~" in rest:
        raise InvalidInput("the title is a relative path or a signature")
    if len(rest.encode()) > (2 * TITLE_BYTES_MAX if special else TITLE_BYTES_MAX):
        raise InvalidInput("the title is too long")


def upper_first(name: str) -> str:
    """`name` with an upper-case first letter, by Unicode's full mapping as PHP does it."""
    return name[:1].upper() + name[1:]


def database_key(title: str) -> DbKey:
    """The database key of a title that the wiki itself wrote: blanks are `_`, the rest is right already."""
    return DbKey(title.replace(" ", "_"))


def site_info(query: SiteQuery, *, lifetime_s_max: int | None = None) -> SiteInfo:
    """The site that an answer to `meta=siteinfo&siprop=general|namespaces|namespacealiases|interwikimap` describes.

    Raises:
        InvalidInput: the answer lacks `general` or the namespaces.
    """
    general = query.general
    if general is None or not query.namespaces:
        raise InvalidInput("the wiki's siteinfo lacks `general` or `namespaces`")
    names: dict[str, int] = {}
    for namespace in query.namespaces.values():
        for name in (namespace.canonical, namespace.name):
            names[database_key(name).lower()] = namespace.id
    for alias in query.namespacealiases:
        names.setdefault(database_key(alias.alias).lower(), alias.id)
    names.pop("", None)
    return SiteInfo(
        wikiid=general.wikiid,
        server=general.server,
        articlepath=general.articlepath,
        script=general.script,
        names=names,
        local_names={namespace.id: database_key(namespace.name) for namespace in query.namespaces.values()},
        case_sensitive=frozenset(n.id for n in query.namespaces.values() if n.case == "case-sensitive"),
        interwiki=frozenset(i.prefix.lower() for i in query.interwikimap if not i.localinterwiki),
        local_interwiki=frozenset(i.prefix.lower() for i in query.interwikimap if i.localinterwiki),
        lifetime_s_max=lifetime_s_max,
        time_offset_min=round(general.timeoffset),
    )
