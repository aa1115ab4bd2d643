"""The built-in wiki's wikitext: what it expands to, and what it was made from."""

import pytest

from headwater.app.demo.content import TEMPLATES, pages
from headwater.app.demo.titles import PageTitle, parse_title
from headwater.app.demo.wiki import DemoWiki, Parsed
from headwater.kernel.errors import InvalidInput
from headwater.testing.clock import ManualClock


def wiki_of(**texts: str) -> DemoWiki:
    wiki = DemoWiki(ManualClock())
    for name, text in texts.items():
        wiki.edit(parse_title(f"Template:{name}"), text)
    return wiki


def parsed(wiki: DemoWiki, text: str, title: str = "Elbe") -> Parsed:
    return wiki.parse(parse_title(title), text)


def shown(wiki: DemoWiki, text: str) -> str:
    html = parsed(wiki, text).html
    return html.removeprefix('<div class="mw-parser-output">').removesuffix("</div>").removeprefix("<p>").removesuffix("</p>")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{T|a}}", "[a|d]"),
        ("{{T|a|y=b}}", "[a|b]"),
        ("{{T|1=a|y= b }}", "[a|b]"),
        ("{{T|{{T|x}}}}", "[[x|d]|d]"),
        ("{{ t |a}}", "[a|d]"),
        ("{{T}}", "[{{{1}}}|d]"),
        ("{{T|a=b=c|1=z}}", "[z|d]"),
        ("{{#if: x | yes | no }}", "yes"),
        ("{{#if: | yes | no }}", "no"),
        ("{{#if: {{{none|}}} | yes }}", ""),
        ("{{PAGENAME}}", "Elbe"),
        ("<!-- c -->a<!-- d", "a"),
        ("a<noinclude>b</noinclude><includeonly>c</includeonly>", "ab"),
        ("{{W}}", "seen"),
        ("'''b''' ''i''", "<b>b</b> <i>i</i>"),
        ("<script>x</script>", "&lt;script&gt;x&lt;/script&gt;"),
        ('<span class="a">x</span>', '<span class="a">x</span>'),
        ("{{T|a", "{{T|a"),
        ("a}} | b ]]", "a}} | b ]]"),
        ("{{bad<title}}", "{{bad&lt;title}}"),
    ],
)
def test_expands(text: str, expected: str) -> None:
    wiki = wiki_of(T="[{{{1}}}|{{{y|d}}}]", W="<noinclude>not</noinclude>seen<includeonly></includeonly>")
    assert shown(wiki, text) == expected


def test_reports_everything_it_was_made_from_missing_ones_and_both_ends_of_a_redirect() -> None:
    wiki = wiki_of(Outer="{{Inner}}{{Old}}{{Missing}} [[Saale]]", Inner="x", Old="#REDIRECT [[Template:New]]", New="[[Category:Rivers]]")
    made = parsed(wiki, "{{Outer}} [[File:Map.svg|thumb|a map]] [[Havel|the Havel]] [[:Category:Lakes]]")
    assert [title.text for title in made.templates] == [f"Template:{name}" for name in ("Inner", "Missing", "New", "Old", "Outer")]
    assert [title.text for title in made.links] == ["Havel", "Saale", "Template:Missing", "Category:Lakes"]
    assert made.images == ["Map.svg"] and made.categories == ["Rivers"]


def test_a_link_shows_whether_its_page_exists() -> None:
    wiki = wiki_of()
    before = parsed(wiki, "[[Saale]]").html
    wiki.edit(parse_title("Saale"), "A river.")
    after = parsed(wiki, "[[Saale]]").html
    assert 'class="new"' in before and 'class="new"' not in after


def test_templates_in_a_circle_end() -> None:
    wiki = wiki_of(A="a{{B}}", B="b{{A}}")
    assert "nested too deeply" in parsed(wiki, "{{A}}").html


@pytest.mark.parametrize("title", ["", " ", ":", "Template:", "a|b", "a[b", "a<b", "x" * 256, "a%41"])
def test_refuses_what_cannot_be_a_title(title: str) -> None:
    with pytest.raises(InvalidInput):
        parse_title(title)


def test_titles_have_one_normal_form() -> None:
    assert parse_title("template:_cite  web") == PageTitle(10, "Cite web")
    assert parse_title("image:map.svg").text == "File:Map.svg"
    assert parse_title("Cite web", 10).key == "Template:Cite_web"
    assert parse_title(":Cite web", 10).text == "Cite web"


def test_the_content_is_what_the_demo_promises() -> None:
    content = dict(pages())
    again = dict(pages())
    assert content == again
    assert 290 <= len(content) <= 320
    assert 18 <= len(TEMPLATES) <= 25
    wiki = DemoWiki(ManualClock())
    for title, text in content.items():
        wiki.edit(parse_title(title), text)
    assert len(wiki) == len(content)
    made = {page.title.text: wiki.parse(page.title, page.current.text) for page in wiki.pages()}
    for title, one in made.items():
        if not title.startswith("Template:"):
            assert "{{" not in one.html and "}}" not in one.html, title
    users = sum("Template:Unit" in [template.text for template in one.templates] for one in made.values())
    direct = sum("{{Unit" in text for text in content.values())
    assert users > 200 and direct < 3  # nested: nearly all pages use it, hardly any names it
