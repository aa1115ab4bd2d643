"""What `headwater check` refuses beyond the types of single options."""

import pytest

from headwater.app.checking import check_everything
from headwater.app.config import HeadwaterConfig
from headwater.kernel.errors import InvalidConfig
from headwater.mediawiki.config import WikiConfig


def config_with(*page_urls: str, history_urls: tuple[str, ...] = ()) -> HeadwaterConfig:
    wiki = WikiConfig(domains=("rivers.example",), api_url="https://rivers.example/api.php", page_urls=page_urls, history_urls=history_urls)
    return HeadwaterConfig(wikis={"rivers": wiki})


def test_addresses_with_a_title_are_right() -> None:
    pages = ("https://rivers.example/wiki/{title}", "https://rivers.example/{variant}/{title}")
    assert check_everything(config_with(*pages, history_urls=("https://rivers.example/?title={title}&action=history",))).schemas > 0


@pytest.mark.parametrize("url", ["https://rivers.example/wiki/{titel}", "https://rivers.example/{lang}/{title}"])
def test_a_misspelt_placeholder_is_named(url: str) -> None:
    with pytest.raises(InvalidConfig, match=r"only \{title\} and \{variant\}") as refused:
        check_everything(config_with(url))
    assert refused.value.where == "wikis.rivers.page_urls"


def test_one_address_for_all_pages_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="one address for all pages") as refused:
        check_everything(config_with(history_urls=("https://rivers.example/history",)))
    assert refused.value.where == "wikis.rivers.history_urls"
