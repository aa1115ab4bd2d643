"""A normalised title is its own normal form, and its address leads back to it."""

import pathlib

import msgspec
from hypothesis import assume, given
from hypothesis import strategies as st

from headwater.kernel.errors import InvalidInput
from headwater.mediawiki.answers import SiteAnswer
from headwater.mediawiki.titles import site_info

DATA = pathlib.Path(__file__).resolve().parents[1] / "data/recentchanges/siteinfo.json"
SITE = site_info(msgspec.json.decode(DATA.read_bytes(), type=SiteAnswer).query)
PREFIXES = st.sampled_from(["", ":", "template:", "File_Talk :", "image:", "Talk:", "foo:"])


@given(PREFIXES, st.text(st.characters(codec="utf-8"), max_size=30))
def test_a_key_is_its_own_normal_form(prefix: str, text: str) -> None:
    try:
        key = SITE.normalise(prefix + text)
    except InvalidInput:
        assume(False)
        raise
    assert SITE.normalise(key) == key
    assert SITE.title_of_url(SITE.url_of(key)) == key
