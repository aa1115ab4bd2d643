"""The pages of the built-in wiki, made from the table of rivers, always the same: about 300 pages over some 20 nested templates.

The rivers are real, and so is which flows into which; all figures and sentences are made up to look like an encyclopedia.
"""

import zlib
from collections.abc import Iterable, Iterator

from headwater.app.demo.rivers import SYSTEMS, System
from headwater.app.demo.titles import parse_title
from headwater.app.demo.wiki import DemoWiki

TRIBUTARIES_WITH_PAGE = 9  # the others are red links: pages that may be created

TEMPLATES = {
    "Unit": '<span class="unit">{{{1}}}</span><noinclude>The name of a unit, e.g. km.</noinclude>',
    "Convert": "{{{1}}} {{Unit|{{{2}}}}} ({{{3}}} {{Unit|{{{4}}}}})<noinclude>One figure in two units.</noinclude>",
    "Length": "{{Convert|{{{1}}}|km|{{{2}}}|mi}}<noinclude>Length of a river.</noinclude>",
    "Area": "{{Convert|{{{1}}}|km²|{{{2}}}|sq mi}}<noinclude>Area of a basin.</noinclude>",
    "Discharge": "{{Convert|{{{1}}}|m³/s|{{{2}}}|cu ft/s}}<noinclude>Mean discharge at the mouth.</noinclude>",
    "Flag": '<span class="flag" title="{{{1}}}">⚑</span>',
    "Country": "{{Flag|{{{1}}}}} [[{{{1}}}]]<noinclude>A country with its flag.</noinclude>",
    "River link": "[[{{{1}}}]]",
    "Tributary": "* {{River link|{{{1}}}}}{{#if:{{{2|}}}| (from the {{{2}}})}}",
    "Infobox row": "{{#if:{{{2|}}}|<tr><th>{{{1}}}</th><td>{{{2}}}</td></tr>}}<noinclude>One row of an infobox.</noinclude>",
    "Infobox": '<table class="infobox">\n<caption>{{{title}}}</caption>\n{{{rows}}}\n</table>',
    "Infobox river": """{{Infobox|title={{{name|{{PAGENAME}}}}}|rows=
{{Infobox row|Countries|{{{countries|}}}}}
{{Infobox row|Length|{{#if:{{{length|}}}|{{Length|{{{length}}}|{{{miles}}}}}}}}}
{{Infobox row|Basin|{{#if:{{{area|}}}|{{Area|{{{area}}}|{{{area_miles}}}}}}}}}
{{Infobox row|Discharge|{{#if:{{{discharge|}}}|{{Discharge|{{{discharge}}}|{{{cubic_feet}}}}}}}}}
{{Infobox row|Flows into|{{{mouth|}}}}}
}}<noinclude>Facts of a river at a glance.</noinclude>""",
    "Basin": "It belongs to the basin of the {{River link|{{{1}}}}}.",
    "Ambox": '<div class="ambox">{{{1}}}</div>',
    "Stub": "{{Ambox|This article about a river is short. It may be made longer.}}",
    "Cite": '<span class="cite">{{{1}}}. {{#if:{{{publisher|}}}|{{{publisher}}},}} {{{year}}}.</span>',
    "Cite web": "{{Cite|''{{{title}}}''|publisher={{{publisher|}}}|year={{{year}}}}}",
    "Navbox row": "<tr><th>{{{1}}}</th><td>{{{2}}}</td></tr>",
    "Navbox": '<table class="navbox">\n<caption>{{{title}}}</caption>\n{{{rows}}}\n</table>',
    "Navbox rivers": "{{Navbox|title=Rivers of {{{1}}}|rows=\n{{{2}}}\n{{Navbox row|See also|[[List of rivers of {{{1}}}]]}}\n}}",
}


def pages() -> Iterator[tuple[str, str]]:
    """Every page as (title, text): templates first."""
    for name, text in TEMPLATES.items():
        yield f"Template:{name}", text
    for continent in continents():
        yield f"Template:Rivers of {continent}", _navbox(continent)
        yield f"List of rivers of {continent}", _list(continent)
        yield f"Category:Rivers of {continent}", f"Rivers of {continent}. See [[List of rivers of {continent}]]."
    for system in SYSTEMS:
        yield system.river, _main_river(system)
        for tributary in system.tributaries[:TRIBUTARIES_WITH_PAGE]:
            yield tributary, _tributary(tributary, system)
    yield "Main Page", _main_page()
    yield from _redirects()


def continents() -> list[str]:
    """The continents in order of their first river."""
    return list(dict.fromkeys(system.continent for system in SYSTEMS))


def fill(wiki: DemoWiki, titles: Iterable[tuple[str, str]] | None = None) -> int:
    """Save all pages into an empty wiki; how many."""
    count = 0
    for title, text in pages() if titles is None else titles:
        wiki.edit(parse_title(title), text, "first version")
        count += 1
    return count


def _figure(name: str, what: str, least: int, most: int) -> int:
    """A made-up figure that is always the same for one name."""
    return least + zlib.crc32(f"{what} of {name}".encode()) % (most - least)


def _infobox(name: str, countries: Iterable[str], mouth: str, size: int) -> str:
    length = _figure(name, "length", 40 * size, 160 * size)
    area = length * _figure(name, "width", 15, 40)
    discharge = _figure(name, "discharge", 10 * size, 90 * size)
    flags = ", ".join(f"{{{{Country|{country}}}}}" for country in countries)
    return (
        f"{{{{Infobox river\n| countries = {flags}\n| length = {length}\n| miles = {round(length * 0.6214)}\n"
        f"| area = {area}\n| area_miles = {round(area * 0.3861)}\n| discharge = {discharge}\n"
        f"| cubic_feet = {round(discharge * 35.31)}\n| mouth = {mouth}\n}}}}\n"
    )


_SOURCES = ("a spring below a wooded ridge", "two brooks that meet in a meadow", "a small lake in the hills", "the edge of a high moor")
_COURSES = (
    "broad valley with hay meadows",
    "narrow gorge and then through open fields",
    "chain of small towns",
    "plain that it floods in spring",
)


def _prose(name: str) -> str:
    source = _SOURCES[_figure(name, "source", 0, len(_SOURCES))]
    course = _COURSES[_figure(name, "course", 0, len(_COURSES))]
    year = _figure(name, "year", 1890, 1990)
    return (
        f"== Course ==\nThe {name} rises from {source}. It runs through a {course}. Gauges have been read daily since {year}.\n\n"
        f"== Notes ==\n* {{{{Cite web|title=Gauges of the {name}|publisher=Office for Rivers|year={year + 20}}}}}\n"
        f"* {{{{Cite web|title=Walking along the {name}|year={_figure(name, 'walk', 1995, 2024)}}}}}\n"
    )


def _main_river(system: System) -> str:
    name = system.river
    tributaries = "\n".join(f"{{{{Tributary|{tributary}|{_side(tributary)}}}}}" for tributary in system.tributaries)
    return (
        f"{_infobox(name, system.countries, f'[[{system.mouth}]]', 10)}"
        f"The '''{name}''' is a river in {system.continent} that ends in the [[{system.mouth}]].\n\n"
        f"{_prose(name)}\n== Tributaries ==\n{tributaries}\n\n"
        f"{{{{Rivers of {system.continent}}}}}\n[[Category:Rivers of {system.continent}]]"
    )


def _side(tributary: str) -> str:
    return "left" if _figure(tributary, "side", 0, 2) else "right"


def _tributary(name: str, system: System) -> str:
    countries = [system.countries[_figure(name, "country", 0, len(system.countries))]]
    stub = "{{Stub}}\n" if _figure(name, "stub", 0, 4) == 0 else ""
    return (
        f"{_infobox(name, countries, f'{{{{River link|{system.river}}}}}', 3)}"
        f"The '''{name}''' is a {_side(name)} tributary of the {{{{River link|{system.river}}}}}. {{{{Basin|{system.river}}}}}\n\n"
        f"{_prose(name)}\n{stub}{{{{Rivers of {system.continent}}}}}\n[[Category:Rivers of {system.continent}]]"
    )


def _of(continent: str) -> list[System]:
    return [system for system in SYSTEMS if system.continent == continent]


def _navbox(continent: str) -> str:
    rows = "\n".join(
        f"{{{{Navbox row|{{{{River link|{system.river}}}}}|{' · '.join(f'[[{name}]]' for name in system.tributaries[:5])}}}}}"
        for system in _of(continent)
    )
    return f"{{{{Navbox rivers|{continent}|{rows}}}}}"


def _list(continent: str) -> str:
    parts = [f"The larger rivers of {continent} and those that flow into them.\n"]
    for system in _of(continent):
        parts.append(f"== {system.river} ==")
        parts += [f"{{{{Tributary|{name}}}}}" for name in system.tributaries]
    return "\n".join(parts) + f"\n\n{{{{Rivers of {continent}}}}}"


def _main_page() -> str:
    lists = "\n".join(f"* [[List of rivers of {continent}]]" for continent in continents())
    return (
        "'''Rivers and their tributaries''': a small wiki that shows how an edit reaches every page made from it. "
        f"All figures are made up.\n\n== Lists ==\n{lists}\n\n== Start here ==\n"
        "* [[Elbe]]\n* [[Danube]]\n* [[Amazon]]\n* [[Template:Unit]], which most pages use without naming it"
    )


def _redirects() -> Iterator[tuple[str, str]]:
    for source, target in (
        ("Labe", "Elbe"),
        ("Donau", "Danube"),
        ("Rhein", "Rhine"),
        ("Wisła", "Vistula"),
        ("Tejo", "Tagus"),
        ("Template:River", "Template:River link"),
    ):
        yield source, f"#REDIRECT [[{target}]]"
