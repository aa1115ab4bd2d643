"""Normalising twice is normalising once, whatever the pieces and however they interlock."""

from hypothesis import given
from hypothesis import strategies as st

from headwater.mediawiki.normalise import normalise

PIECES = st.sampled_from(
    [
        "<!--",
        "-->",
        "<!-",
        "-",
        "->",
        " NewPP limit report",
        "\n",
        " ",
        "x",
        "</div>",
        "<div>",
        "Saved in parser cache",
        "<!-- Parsoid -->",
        "<",
    ]
)


@given(st.lists(PIECES, max_size=24).map("".join))
def test_it_is_idempotent(html: str) -> None:
    once = normalise(html)
    assert normalise(once) == once
