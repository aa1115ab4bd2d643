"""From expanded wikitext to HTML: links, bold, italics, headings, lists, paragraphs and a few plain HTML tags. Pure."""

import html
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import quote

from headwater.app.demo.titles import CATEGORY, FILE, PageTitle, parse_title
from headwater.kernel.errors import InvalidInput

_TAGS = "b|i|small|sup|sub|span|div|table|tr|td|th|caption|ul|ol|li|p|br|strong|em|blockquote"
_TAG = re.compile(rf"&lt;(/?)({_TAGS})((?: (?:class|style|colspan|title)=&quot;[^&<>]*&quot;)*) ?(/?)&gt;")
_LINK = re.compile(r"\[\[(:?)([^\[\]|]+)(?:\|((?:[^\[\]]|\[(?!\[))*))?\]\]")
_EXTERNAL = re.compile(r"\[(https?://[^\s\]&]+) ([^\]]+)\]")
_HEADING = re.compile(r"(={2,4}) *(.+?) *\1 *")
_BLOCK = re.compile(r"</?(?:div|table|tr|td|th|caption|ul|ol|li|p|blockquote|h[2-4])\b")


@dataclass(slots=True)
class Markup:
    """One page's HTML in the making, and what it links to.

    Attributes:
        exists: whether a page exists, for red links.
        links, images, categories: what was met so far.
    """

    exists: Callable[[PageTitle], bool]
    links: set[PageTitle] = field(default_factory=set)
    images: set[str] = field(default_factory=set)
    categories: set[str] = field(default_factory=set)

    def html(self, text: str) -> str:
        """The HTML of expanded wikitext, in the envelope that MediaWiki uses."""
        lines = [self._inline(line) for line in text.split("\n")]
        return f'<div class="mw-parser-output">{_blocks(lines)}</div>'

    def redirect(self, target: PageTitle) -> str:
        """The HTML of a redirect page."""
        self.links.add(target)
        link = self._anchor(target, html.escape(target.text))
        return (
            '<div class="mw-parser-output"><div class="redirectMsg"><p>Redirect to:</p>'
            f'<ul class="redirectText"><li>{link}</li></ul></div></div>'
        )

    def _inline(self, line: str) -> str:
        line = _TAG.sub(r"<\1\2\3\4>", html.escape(line)).replace("&quot;", '"')
        line = _LINK.sub(self._link, line)
        line = _EXTERNAL.sub(r'<a rel="nofollow" class="external text" href="\1">\2</a>', line)
        line = re.sub(r"'''(.+?)'''", r"<b>\1</b>", line.replace("&#x27;", "'"))
        return re.sub(r"''(.+?)''", r"<i>\1</i>", line)

    def _link(self, match: re.Match[str]) -> str:
        try:
            title = parse_title(html.unescape(match[2]))
        except InvalidInput:
            return match[0]
        shown = match[3] or html.escape(title.text)
        if match[1] != ":" and title.namespace == CATEGORY:
            self.categories.add(title.name.replace(" ", "_"))
            return ""
        if match[1] != ":" and title.namespace == FILE:
            self.images.add(title.name.replace(" ", "_"))
            return f'<span class="thumb">{shown.rpartition("|")[2]}</span>'
        self.links.add(title)
        return self._anchor(title, shown)

    def _anchor(self, title: PageTitle, shown: str) -> str:
        address = "/index.php/" + quote(title.key, safe="/:()',;@!*")
        if self.exists(title):
            return f'<a href="{address}" title="{html.escape(title.text)}">{shown}</a>'
        return (
            f'<a href="{address}?action=edit&amp;redlink=1" class="new" title="{html.escape(title.text)} (page does not exist)">{shown}</a>'
        )


def _blocks(lines: list[str]) -> str:
    out: list[str] = []
    paragraph: list[str] = []
    items: list[str] = []

    def flush() -> None:
        if items:
            out.append("<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>")
            items.clear()
        if paragraph:
            out.append("<p>" + "\n".join(paragraph) + "</p>")
            paragraph.clear()

    for line in lines:
        stripped = line.strip()
        heading = _HEADING.fullmatch(stripped)
        if stripped.startswith("*"):
            if paragraph:
                flush()
            items.append(stripped.lstrip("* "))
            continue
        if heading is not None or not stripped or _BLOCK.match(stripped):
            flush()
            level = len(heading[1]) if heading is not None else 0
            if heading is not None:
                out.append(f'<h{level}><span class="mw-headline">{heading[2]}</span></h{level}>')
            elif stripped:
                out.append(stripped)
            continue
        if items:
            flush()
        paragraph.append(stripped)
    flush()
    return "\n".join(out)
