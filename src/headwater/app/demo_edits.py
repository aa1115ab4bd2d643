"""The edits that the demo makes by itself: what a person would do in such a wiki, some of them without any visible effect.

Each is a pure change of a page's text; made twice, it goes back and forth, so that the demo can run for hours.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    """One edit: the page, its new text and what it is about."""

    title: str
    text: str
    about: str


@dataclass(frozen=True, slots=True)
class Swap:
    """Replaces one piece of a page by another, and back again when it is there already."""

    title: str
    one: str
    other: str
    about: str

    def applied(self, text: str | None) -> Edit | None:
        """The edit, given the page's present text; None if somebody else has removed what it would replace."""
        present = text or ""
        there, wanted = (self.other, self.one) if self.other in present else (self.one, self.other)
        return Edit(self.title, present.replace(there, wanted), self.about) if there in present else None


@dataclass(frozen=True, slots=True)
class Extension:
    """Adds a sentence at the end of a page, which comes to be if there is none."""

    title: str
    sentence: str
    about: str

    def applied(self, text: str | None) -> Edit:
        """The edit, given the page's present text; None where there is no page."""
        return Edit(self.title, f"{text or ''}\n{self.sentence}".strip(), self.about)


EDITS: Sequence[Swap | Extension] = (
    Swap("Template:Flag", "⚑", "⚐", "another sign in a template that nearly every page uses without naming it"),
    Swap("Template:Cite web", "''{{{title}}}''", "{{{title}}}", "how sources are cited"),
    Swap(
        "Template:Convert", "One figure in two units.", "A figure in two units.", "documentation only: pages are looked at, nothing changes"
    ),
    Swap("Template:Stub", "It may be made longer.", "You can make it longer.", "a notice on short articles"),
    Extension("Elbe", "Its water is cold.", "an article itself: one page"),
    Swap("Template:Unit", 'class="unit"', 'class="unit symbol"', "markup three templates deep"),
    Swap("Template:Navbox", "{{{title}}}", "{{{title}}} and their tributaries", "the heading of all boxes below the articles"),
    Extension("Atlantic Ocean", "An ocean into which many rivers end.", "a page that many link to and nobody had written"),
    Swap("Template:Rivers of Europe", "Navbox rivers|Europe", "Navbox rivers|Europe ", "one box, on the articles of one continent"),
)


def edit_number(number: int) -> Swap | Extension:
    """The edit with this number, from 0; after the last comes the first again."""
    return EDITS[number % len(EDITS)]
