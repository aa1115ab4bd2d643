"""The HTML of a parse without what is different each time: what is hashed is what is stored and served. Pure.

MediaWiki ends its HTML with comments that hold timings, cache keys and dates, and sets a line break around them that is not there when
they are switched off. Both forms, cached or not, come out equal. `normalise` is idempotent on what wikis make. Changing what it does to
that changes `RENDERER`: every page reads that resource, so a new version renders all pages again.
"""

from typing import Final

RENDERER: Final = "s:renderer:1"

# First words of the comments that the parser, its caches and its hosts add. Comments of editors are no part of any HTML.
_VOLATILE = (
    "NewPP limit report",
    "Transclusion expansion time report",
    "Saved in parser cache",
    "Saved in RevisionOutputCache",
    "Served by",
    "Cached time",
    "Parsed by",
    "Post-cache processing",
    "Post-processing cache",
    "Rendering was triggered",
    "Parsoid",
)
_PASSES_MAX: Final = 16  # no wiki nests its comments; whoever does, deeper than this, wants to keep the process busy
_OPEN, _CLOSE, _WRAPPER_END = "<!--", "-->", "</div>"


def normalise(html: str) -> str:
    """`html` without volatile comments, and without blanks where they stood or at its end."""
    for _ in range(_PASSES_MAX):
        shorter = _tidy_end(_without_comments(html))
        if shorter == html:
            break
        html = shorter  # what was cut may have stood between the halves of another one
    return html


def _without_comments(html: str) -> str:
    kept: list[str] = []
    start = 0
    at = html.find(_OPEN)
    while at >= 0:
        end = html.find(_CLOSE, at + len(_OPEN))
        if end < 0:
            break
        end += len(_CLOSE)
        if html[at + len(_OPEN) : at + 200].lstrip().startswith(_VOLATILE):
            kept.append(html[start:at].rstrip())
            start = _first_non_blank(html, end)
            end = start
        at = html.find(_OPEN, end)
    kept.append(html[start:])
    return "".join(kept)


def _first_non_blank(html: str, start: int) -> int:
    while start < len(html) and html[start].isspace():
        start += 1
    return start


def _tidy_end(html: str) -> str:
    """The end of the wrapper without blanks before and after it."""
    html = html.rstrip()
    return html[: -len(_WRAPPER_END)].rstrip() + _WRAPPER_END if html.endswith(_WRAPPER_END) else html
