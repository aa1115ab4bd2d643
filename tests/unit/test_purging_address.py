"""What a purge may take from a URL: host and path, and nothing that a smuggler could use."""

import pytest

from headwater.kernel.errors import InvalidInput
from headwater.purging.address import URL_CHARACTERS_MAX, Address, address_of


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("http://rivers.example/index.php/Elbe", "rivers.example", "/index.php/Elbe"),
        ("http://127.0.0.1:8090/index.php?title=Elbe&action=history", "127.0.0.1:8090", "/index.php?title=Elbe&action=history"),
        ("HTTPS://Rivers.Example:443/A%2FB", "rivers.example", "/A%2FB"),
        ("http://rivers.example:80", "rivers.example", "/"),
        ("http://rivers.example:443/", "rivers.example:443", "/"),
        ("http://rivers.example?x=1#part", "rivers.example", "/?x=1"),
        ("http://[::1]:6081/x", "[::1]:6081", "/x"),
        ("http://rivers.example/Ems_(Fluß)", "rivers.example", "/Ems_(Flu%C3%9F)"),
        ("http://rivers.example//other.example/x", "rivers.example", "//other.example/x"),
        ("http://rivers.example/../../admin", "rivers.example", "/../../admin"),
    ],
)
def test_takes_host_and_path(url: str, host: str, path: str) -> None:
    assert address_of(url) == Address(host, path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/index.php/Elbe",
        "//rivers.example/x",
        "ftp://rivers.example/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "gopher://rivers.example:70/x",
        "http:rivers.example/x",
        "http:///x",
        "http://user@rivers.example/x",
        "http://user:secret@rivers.example/x",
        "http://rivers.example@other.example/x",
        "http://rivers.example\\@other.example/x",
        "http://rivers.example:0/x",
        "http://rivers.example:65536/x",
        "http://rivers.example:80:90/x",
        "http://rivers.example:/x",
        "http://rivers.example/x\r\nHost: other.example",
        "http://rivers.example\r\nX-Evil: 1/x",
        "http://rivers.example/x y",
        "http://rivers.example/\x00",
        "http://rivers.example/\x7f",
        "http://flüsse.example/x",
        "http://rivers.example/\ud800",
        " http://rivers.example/x",
        "http://rivers.example/" + "x" * URL_CHARACTERS_MAX,
    ],
)
def test_refuses_what_is_not_plainly_host_and_path(url: str) -> None:
    with pytest.raises(InvalidInput):
        address_of(url)


def test_accepts_the_longest_url() -> None:
    url = "http://rivers.example/".ljust(URL_CHARACTERS_MAX, "x")
    assert len(address_of(url).path) == URL_CHARACTERS_MAX - len("http://rivers.example")
