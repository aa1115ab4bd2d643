"""What is hashed is the same whether the wiki's caches had it or not."""

import pytest

from headwater.mediawiki import normalise as normalising
from headwater.mediawiki.normalise import normalise

WRAPPED = '<div class="mw-parser-output"><p>one\n</p>{}</div>'


def test_a_cached_and_an_uncached_form_come_out_equal() -> None:
    uncached = WRAPPED.format("")
    report = "\n<!-- \nNewPP limit report\nCached time: 20260101000000\n-->\n<!--\nTransclusion expansion time report\n1 -total\n-->\n"
    stamp = "<!-- Saved in parser cache with key wiki:pcache:idhash:1-0 and timestamp 20260101000000 and revision id 7.\n -->\n"
    assert normalise(WRAPPED.format(report)) == normalise(uncached) == '<div class="mw-parser-output"><p>one\n</p></div>'
    assert normalise(WRAPPED.format(report + stamp)) == normalise(uncached)
    assert normalise(WRAPPED.format(report) + "\n" + stamp) == normalise(uncached)


def test_two_reports_of_different_times_come_out_equal() -> None:
    first, second = (WRAPPED.format(f"\n<!-- \nNewPP limit report\nCPU time usage: {s} seconds\n-->\n") for s in ("0.1", "0.2"))
    assert normalise(first) == normalise(second)


def test_what_belongs_to_the_page_stays() -> None:
    html = '<div class="mw-parser-output"><!--IW--> <pre>a  b</pre> <!-- kept --> x</div>'
    assert normalise(html) == html


def test_an_unclosed_comment_ends_nothing() -> None:
    assert normalise("a <!-- NewPP limit report b") == "a <!-- NewPP limit report b"


def test_comments_that_are_nested_on_purpose_do_not_keep_the_process_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    html = "<!--NewPP limit report-->"
    for _ in range(200):
        html = f"<!{html}--NewPP limit report-->"
    passes: list[int] = []
    cut = normalising._without_comments

    def counted(text: str) -> str:
        passes.append(len(text))
        return cut(text)

    monkeypatch.setattr(normalising, "_without_comments", counted)
    normalise(html)
    assert 1 < len(passes) <= 16
