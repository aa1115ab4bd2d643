"""The edits that the demo makes: each changes the page it names, can be made again, and most reach many pages."""

from headwater.app.demo.content import fill
from headwater.app.demo.titles import parse_title
from headwater.app.demo.wiki import DemoWiki
from headwater.app.demo_edits import EDITS, edit_number
from headwater.testing.clock import ManualClock


def test_every_edit_changes_its_page_each_time_it_is_made() -> None:
    wiki = DemoWiki(ManualClock())
    fill(wiki)
    for number in range(3 * len(EDITS)):
        change = edit_number(number)
        title = parse_title(change.title)
        before = wiki.text_of(title)
        edit = change.applied(before)
        assert edit is not None
        wiki.edit(title, edit.text)
        assert wiki.text_of(title) == edit.text != before


def test_among_the_first_edits_are_wide_ones_and_one_that_changes_nothing() -> None:
    wiki = DemoWiki(ManualClock())
    fill(wiki)

    def html() -> dict[str, str]:
        return {page.title.key: wiki.parse(page.title, page.current.text).html for page in wiki.pages()}

    changed = []
    for number in range(3):
        before = html()
        edit = edit_number(number).applied(wiki.text_of(parse_title(edit_number(number).title)))
        assert edit is not None
        wiki.edit(parse_title(edit.title), edit.text)
        after = html()
        changed.append(sum(after[key] != before[key] for key in before))
    assert changed[0] > 100
    assert changed[1] > 50
    assert changed[2] <= 1, "documentation stands on the template's own page only"


def test_an_edit_that_somebody_else_made_impossible_is_left_out() -> None:
    assert edit_number(0).applied("nothing that the edit could replace") is None
