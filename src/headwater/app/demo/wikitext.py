"""A small subset of wikitext: templates with parameters and defaults, `{{#if:}}`, `{{PAGENAME}}`, inclusion tags, comments. Pure.

Expansion reports every template that it asked for, missing ones and redirects included, since that is what a page was made from.
What is left (links, bold, headings, lists) becomes HTML in `markup.py`.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from headwater.app.demo.titles import TEMPLATE, PageTitle, parse_title
from headwater.kernel.errors import InvalidInput

DEPTH_MAX = 20
EXPANDED_CHARACTERS_MAX = 500_000

_COMMENT = re.compile(r"<!--.*?(?:-->|$)", re.DOTALL)
_INCLUDE_ONLY = re.compile(r"<includeonly>(.*?)</includeonly>", re.DOTALL)
_NO_INCLUDE = re.compile(r"<noinclude>(.*?)(?:</noinclude>|$)", re.DOTALL)
_TOKENS = re.compile(r"\{\{\{|\{\{|\}\}\}|\}\}|\[\[|\]\]|\|")
_REDIRECT = re.compile(r"\s*#REDIRECT\s*:?\s*\[\[([^\]|]+)(?:\|[^\]]*)?\]\]", re.IGNORECASE)

Parts = tuple["Node", ...]


@dataclass(frozen=True, slots=True)
class Call:
    """`{{name|…}}`: the parts between the bars."""

    parts: tuple[Parts, ...]


@dataclass(frozen=True, slots=True)
class Parameter:
    """`{{{name|default}}}`."""

    parts: tuple[Parts, ...]


Node = str | Call | Parameter


@dataclass(slots=True)
class _Open:
    mark: str
    parts: list[list[Node]] = field(default_factory=lambda: [[]])


def redirect_target(text: str) -> PageTitle | None:
    """Where a page with this text redirects to, or None."""
    match = _REDIRECT.match(text)
    if match is None:
        return None
    try:
        return parse_title(match[1])
    except InvalidInput:
        return None


def included(text: str) -> str:
    """What of a template's text is included where it is used."""
    return _INCLUDE_ONLY.sub(r"\1", _NO_INCLUDE.sub("", _COMMENT.sub("", text)))


def own_page(text: str) -> str:
    """What of a page's text shows on the page itself."""
    return _NO_INCLUDE.sub(r"\1", _INCLUDE_ONLY.sub("", _COMMENT.sub("", text)))


@lru_cache(maxsize=512)
def parse(text: str) -> Parts:
    """The calls and parameters in `text`; unbalanced marks are plain text."""
    stack = [_Open("")]
    at = 0
    while (token := _TOKENS.search(text, at)) is not None:
        stack[-1].parts[-1].append(text[at : token.start()])
        at = token.start() + _take(stack, token[0])
    stack[-1].parts[-1].append(text[at:])
    while len(stack) > 1:
        _unbalanced(stack)
    return _tidy(stack[0].parts[0])


def _take(stack: list[_Open], mark: str) -> int:
    """Act on one mark; how many of its characters were used."""
    top = stack[-1]
    if mark in ("{{{", "{{", "[["):
        stack.append(_Open(mark))
    elif mark == "|":
        if top.mark in ("{{{", "{{"):
            top.parts.append([])
        else:
            top.parts[-1].append(mark)
    elif mark == "}}}" and top.mark == "{{{":
        _close(stack, Parameter(tuple(map(_tidy, top.parts))))
    elif mark in ("}}}", "}}") and top.mark == "{{":
        _close(stack, Call(tuple(map(_tidy, top.parts))))
        return 2
    elif mark == "]]" and top.mark == "[[":
        stack.pop()
        stack[-1].parts[-1] += ["[[", *top.parts[0], "]]"]
    else:
        top.parts[-1].append(mark)
    return len(mark)


def _close(stack: list[_Open], node: Node) -> None:
    stack.pop()
    stack[-1].parts[-1].append(node)


def _unbalanced(stack: list[_Open]) -> None:
    top = stack.pop()
    into = stack[-1].parts[-1]
    into.append(top.mark)
    for number, part in enumerate(top.parts):
        into += ["|", *part] if number else part


def _tidy(nodes: list[Node]) -> Parts:
    tidy: list[Node] = []
    for node in nodes:
        if isinstance(node, str) and tidy and isinstance(tidy[-1], str):
            tidy[-1] += node
        elif node != "":
            tidy.append(node)
    return tuple(tidy)


@dataclass(slots=True)
class Expansion:
    """One expansion of one page.

    Attributes:
        page: the page that is shown.
        text_of: text of a page by title, or None if it does not exist.
        templates: titles asked for so far, in normal form.
    """

    page: PageTitle
    text_of: Callable[[PageTitle], str | None]
    templates: set[PageTitle] = field(default_factory=set)
    _length: int = 0

    def expand(self, text: str) -> str:
        """`text` with all its calls replaced."""
        return self._all(parse(own_page(text)), None, 0)

    def _all(self, parts: Parts, arguments: Mapping[str, str] | None, depth: int) -> str:
        found = [node if isinstance(node, str) else self._one(node, arguments, depth) for node in parts]
        return "".join(found)

    def _one(self, node: Call | Parameter, arguments: Mapping[str, str] | None, depth: int) -> str:
        if isinstance(node, Parameter):
            return self._parameter(node, arguments, depth)
        name = self._all(node.parts[0], arguments, depth).strip()
        if name.lower().startswith("#if:"):
            branch = 1 if name[4:].strip() else 2
            return self._all(node.parts[branch], arguments, depth).strip() if len(node.parts) > branch else ""
        if name == "PAGENAME":
            return self.page.name
        given: dict[str, str] = {}
        place = 0
        for part in node.parts[1:]:
            key, equals, value = self._all(part, arguments, depth).partition("=")
            if equals and _is_named(part):
                given[key.strip()] = value.strip()
            else:
                place += 1
                given[str(place)] = key + equals + value
        return self._template(name, given, depth)

    def _parameter(self, node: Parameter, arguments: Mapping[str, str] | None, depth: int) -> str:
        name = self._all(node.parts[0], arguments, depth).strip()
        if arguments is not None and name in arguments:
            return arguments[name]
        if len(node.parts) > 1:
            return self._all(node.parts[1], arguments, depth)
        return "{{{" + name + "}}}"

    def _template(self, name: str, arguments: Mapping[str, str], depth: int) -> str:
        try:
            title = parse_title(name, TEMPLATE)
        except InvalidInput:
            return "{{" + name + "}}"
        self.templates.add(title)
        text = self.text_of(title)
        target = redirect_target(text) if text is not None else None
        if target is not None:
            title = target
            self.templates.add(title)
            text = self.text_of(title)
        if text is None:
            return f"[[:{title.text}]]"
        if depth >= DEPTH_MAX or self._length > EXPANDED_CHARACTERS_MAX:
            return '<strong class="error">templates nested too deeply or too large</strong>'
        expanded = self._all(parse(included(text)), arguments, depth + 1)
        self._length += len(expanded)
        return expanded


def _is_named(part: Parts) -> bool:
    """Whether the `=` stands in the text itself and so names the argument; one that came out of a template does not."""
    return bool(part) and isinstance(part[0], str) and "=" in part[0]
