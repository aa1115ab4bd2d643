"""From a page's title to the addresses under which its copies are kept.

A title is encoded as MediaWiki encodes it in its own addresses (RFC 3986 with `;@$!*(),/~:` left as they are), so that a purge names
exactly the address that readers and caches use.
"""

from collections.abc import Iterable, Sequence
from urllib.parse import quote

from headwater.mediawiki.config import WikiConfig
from headwater.mediawiki.titles import encode_title
from headwater.propagation.model import Title


def canonical_path(wiki: str, title: Title) -> str:
    """The one path of a page in the pages API that shared caches may keep."""
    return f"/v1/{quote(wiki, safe='')}/html/{encode_title(title)}"


def urls_of(titles: Iterable[Title], wiki: WikiConfig, *, new_revision: bool) -> Sequence[str]:
    """Addresses to purge when the pages with these titles change, each once, in the order of the configuration.

    Args:
        new_revision: the page's own text changed too, so its history did.
    """
    templates = wiki.page_urls + (wiki.history_urls if new_revision else ())
    found: dict[str, None] = {}
    for title in titles:
        encoded = encode_title(title)
        for template in templates:
            filled = template.replace("{title}", encoded)
            if "{variant}" not in filled:
                found[filled] = None
                continue
            for variant in wiki.variants:
                found[filled.replace("{variant}", encode_title(variant))] = None
    return tuple(found)
