"""Titles by a real wiki's siteinfo; the expected keys are what MediaWiki 1.39 answered."""

import json
import pathlib

import msgspec
import pytest

from headwater.kernel.errors import InvalidInput
from headwater.mediawiki.answers import SiteAnswer
from headwater.mediawiki.titles import SiteInfo, site_info

DATA = pathlib.Path(__file__).resolve().parents[1] / "data/recentchanges/siteinfo.json"


def recorded_site() -> SiteInfo:
    """The site of the recordings."""
    return site_info(msgspec.json.decode(DATA.read_bytes(), type=SiteAnswer).query, lifetime_s_max=86_400)


SITE = recorded_site()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("foo bar", "Foo_bar"),
        ("  _x__y_ ", "X_y"),
        ("template:x", "Template:X"),
        ("TEMPLATE : x", "Template:X"),
        (":Template:foo", "Template:Foo"),
        ("image:foo.png", "File:Foo.png"),
        ("media:Foo.png", "Media:Foo.png"),
        ("project talk:x", "Headwater_test_talk:X"),
        ("Foo:bar", "Foo:bar"),
        ("ßtraße", "SStraße"),
        ("ωmega", "Ωmega"),
        ("e\u0301a", "Éa"),
        ("a\u00a0b", "A_b"),
        ("\u200efoo", "Foo"),
        ("?x&y", "?x&y"),
        ("Special:version", "Special:Version"),
    ],
)
def test_a_title_gets_the_key_that_the_wiki_gives_it(text: str, key: str) -> None:
    assert SITE.normalise(text) == key


@pytest.mark.parametrize(
    "text", ["", " ", ":", "a|b", "a%41", "x/../y", ".", "a[b", "a~~~b", "foo#bar", "talk:file:x", "wikia:x", "a" * 256, "Talk:"]
)
def test_what_no_page_can_be_called_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        SITE.normalise(text)


def test_the_first_letter_stays_where_the_namespace_says_so() -> None:
    answer = json.loads(DATA.read_bytes())
    answer["query"]["namespaces"]["10"]["case"] = "case-sensitive"
    site = site_info(msgspec.convert(answer, SiteAnswer).query)
    assert site.normalise("template:x") == "Template:x"
    assert site.normalise("x") == "X"


def test_a_prefix_of_the_wiki_itself_is_dropped() -> None:
    answer = json.loads(DATA.read_bytes())
    answer["query"]["interwikimap"].append({"prefix": "here", "localinterwiki": True})
    site = site_info(msgspec.convert(answer, SiteAnswer).query)
    assert site.normalise("Here:template:x") == "Template:X"


def test_the_wikis_clock_may_have_an_offset() -> None:
    answer = json.loads(DATA.read_bytes())
    answer["query"]["general"]["timeoffset"] = -210
    assert site_info(msgspec.convert(answer, SiteAnswer).query).time_offset_min == -210
    del answer["query"]["general"]["timeoffset"]
    assert site_info(msgspec.convert(answer, SiteAnswer).query).time_offset_min == 0


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/index.php/Page_A", "Page_A"),
        ("/index.php/Template:In%2FOut", "Template:In/Out"),
        ("/index.php?title=Template:Inner&action=history", "Template:Inner"),
        ("/index.php/Caf%C3%A9?action=raw", "Café"),
        ("/index.php/100%25_right", "100%_right"),
        ("/images/x.png", None),
        ("/index.php?curid=7", None),
        ("/index.php/", None),
    ],
)
def test_an_address_leads_to_its_page(path: str, key: str | None) -> None:
    assert SITE.title_of_url("http://127.0.0.1:8090" + path) == key


@pytest.mark.parametrize("title", ["Page A", "Template:In/Out", "Café", "What? & why+how", "100% right", "C:x;y@$!*(),~"])
def test_a_page_is_found_by_its_own_address(title: str) -> None:
    key = SITE.normalise(title)
    assert SITE.title_of_url(SITE.url_of(key)) == key


def test_short_article_paths_work_too() -> None:
    answer = json.loads(DATA.read_bytes())
    answer["query"]["general"] |= {"articlepath": "/wiki/$1", "server": "//en.example"}
    site = site_info(msgspec.convert(answer, SiteAnswer).query)
    assert site.url_of(site.normalise("Page A")) == "https://en.example/wiki/Page_A"
    assert site.title_of_url("https://en.example/wiki/Page_A") == "Page_A"
    assert site.title_of_url("https://en.example/index.php/Page_A") == "Page_A"


def test_a_siteinfo_without_namespaces_is_refused() -> None:
    with pytest.raises(InvalidInput):
        site_info(SiteAnswer().query)
