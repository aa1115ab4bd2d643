"""Routing on the raw path."""

from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headwater.http.messages import Request, Response, Route
from headwater.http.routing import Router, compile_template, parse_query, percent_decode
from headwater.kernel.errors import InvalidInput


async def handler(request: Request) -> Response:
    return Response(200)


def route(method: str, path: str) -> Route:
    return Route(method, path, handler, "Something.", {})


ROUTER = Router(
    [
        route("GET", "/v1/{wiki}/html/{title*}"),
        route("GET", "/v1/{wiki}/pages/{title}/explain"),
        route("POST", "/v1/events"),
        route("GET", "/v1/events"),
        route("GET", "/v1/{name}"),
        route("PUT", "/v1/{name}"),
    ]
)


@pytest.mark.parametrize(
    ("path", "template", "params"),
    [
        ("/v1/events", "/v1/events", {}),
        ("/v1/other", "/v1/{name}", {"name": "other"}),
        ("/v1/rivers/html/Elbe", "/v1/{wiki}/html/{title*}", {"wiki": "rivers", "title": "Elbe"}),
        ("/v1/rivers/html/A/B%2FC/", "/v1/{wiki}/html/{title*}", {"wiki": "rivers", "title": "A/B/C/"}),
        ("/v1/rivers/html/%C3%A9+x", "/v1/{wiki}/html/{title*}", {"wiki": "rivers", "title": "é+x"}),
        ("/v1/rivers/html//", "/v1/{wiki}/html/{title*}", {"wiki": "rivers", "title": "/"}),
        ("/v1/rivers/pages/A%2FB/explain", "/v1/{wiki}/pages/{title}/explain", {"wiki": "rivers", "title": "A/B"}),
        ("/v1/a%2Fevents", "/v1/{name}", {"name": "a/events"}),
    ],
)
def test_a_path_finds_its_template(path: str, template: str, params: dict[str, str]) -> None:
    found = ROUTER.find(path)
    assert found is not None
    assert (found[0].template, found[1]) == (template, params)


@pytest.mark.parametrize(
    "path",
    ["/", "/v1", "/v1/", "/V1/events", "/v1/events/", "/v1/rivers/html/", "/v1/rivers/html", "/v1/a/pages/b/c/explain", "*", "//v1/x"],
)
def test_other_paths_find_nothing(path: str) -> None:
    assert ROUTER.find(path) is None


@pytest.mark.parametrize("text", ["%", "%2", "%zz", "a%g0", "%C3", "%FF", "%00", "%ED%A0%80", "%C0%AF"])
def test_bad_escapes_are_refused(text: str) -> None:
    with pytest.raises(InvalidInput):
        ROUTER.find(f"/v1/{text}")
    with pytest.raises(InvalidInput):
        parse_query(f"a={text}")


def test_decoding_happens_once() -> None:
    assert percent_decode("a%252Fb%25zz", where="x") == "a%2Fb%zz"


def test_methods_of_a_path() -> None:
    found = ROUTER.find("/v1/events")
    assert found is not None
    assert found[0].allow == "GET, HEAD, OPTIONS, POST"
    head, get = found[0].route("HEAD"), found[0].route("GET")
    assert head is not None and head is get
    assert found[0].route("DELETE") is None
    put_only = Router([route("PUT", "/x")]).find("/x")
    assert put_only is not None and put_only[0].route("HEAD") is None and put_only[0].allow == "OPTIONS, PUT"


def test_a_route_declared_twice_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="declared twice"):
        Router([route("GET", "/x"), route("GET", "/x")])


@pytest.mark.parametrize(
    ("raw", "pairs"),
    [
        ("a=1&b=2&a=3", [("a", "1"), ("b", "2"), ("a", "3")]),
        ("hasty", [("hasty", "")]),
        ("a=b=c&&d", [("a", "b=c"), ("d", "")]),
        ("q=a+b%2Bc%20d", [("q", "a b+c d")]),
        ("%C3%A9=%3D", [("é", "=")]),
    ],
)
def test_query_parameters(raw: str, pairs: list[tuple[str, str]]) -> None:
    assert parse_query(raw) == pairs


def test_too_many_query_parameters_are_refused() -> None:
    assert len(parse_query("&".join(["a=b"] * 100))) == 100
    with pytest.raises(InvalidInput):
        parse_query("&".join(["a=b"] * 101))


SEGMENTS = st.sampled_from(["v1", "wiki", "explain", "pages", "tables", "rows", "query", "a%2Fb", ""])
TEMPLATES = (
    "/v1/{wiki}/html/{title*}",
    "/v1/{wiki}/tables/{table}",
    "/v1/{wiki}/tables/{table}/query",
    "/v1/{wiki}/tables/{table}/rows",
    "/v1/{title*}/explain",
    "/v1/{wiki}/pages/{title*}/rows",
    "/v1/rows",
)


@pytest.mark.parametrize("title", ["Elbe", "A/B", "A/B/C/D/E", "A/explain/B", "/", "A/rows"])
def test_a_name_has_as_many_slashes_as_it_likes(title: str) -> None:
    router = Router([route("GET", path) for path in ("/v1/{wiki}/html/{title*}", "/v1/{wiki}/pages/{title*}/explain")])
    found = router.find(f"/v1/rivers/pages/{title}/explain")
    assert found is not None
    assert (found[0].template, found[1]) == ("/v1/{wiki}/pages/{title*}/explain", {"wiki": "rivers", "title": title})


@example(["v1", "wiki", "pages", "wiki", "wiki", "wiki", "rows"], TEMPLATES)
@given(st.lists(SEGMENTS, min_size=1, max_size=7), st.permutations(TEMPLATES))
def test_the_first_template_that_fits_is_found_whatever_is_tried(segments: Sequence[str], templates: Sequence[str]) -> None:
    path = "/" + "/".join(segments)
    fitting = [path] if path in templates else [one for one in templates if "{" in one and compile_template(one).fullmatch(path)]
    found = Router([route("GET", one) for one in templates]).find(path)
    assert (None if found is None else found[0].template) == (fitting[0] if fitting else None)
