"""The main job on the real thing: a real MediaWiki with real pages is edited, and everything made from what was edited becomes right.

After each act, at rest, every page of the pages API equals a fresh, uncached render by the wiki, Varnish serves the same, and no page was
rendered that does not depend on what was edited. Before each act Varnish is seen to answer from its cache, so that a purge has
something to do. The wiki's job queue stands still: its own caches stay wrong, and Headwater must not care.
"""

import contextlib
import json
import pathlib
import sqlite3
from collections.abc import Callable, Iterator

import pytest
from tests.acceptance.real_world import RealWorld, key_of
from tests.acceptance.served_process import eventually
from tests.real import templates
from tests.real.excerpt import PAGES_ALL
from tests.real.wiki import png

pytestmark = [pytest.mark.real("mediawiki", "varnish"), pytest.mark.timeout(3600)]


@pytest.fixture(scope="module", params=[40, pytest.param(PAGES_ALL, marks=pytest.mark.proof)])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealWorld]:
    """So many real pages, in CI none of them a redirect; all known, rendered and right."""
    folder = tmp_path_factory.mktemp("real")
    with RealWorld(folder, request.param) as made:
        made.platform.start(HEADWATER_LOOP_WATCH=str(folder / "loop.json"))
        made.backfill()
        assert made.wrong() == []
        yield made


def follow(world: RealWorld, act: Callable[[], object], affected: Callable[[], set[str]], *, rendered_min: int = 1) -> None:
    """Warm the cache, act, wait for rest; then everything is right, and only `affected` pages were rendered."""
    titles = world.titles()
    assert world.warm(titles) == len(titles) > world.pages
    may = affected()
    before = world.seqs(titles)
    world.after(act)
    after = world.seqs(titles)
    rendered = {title for title in titles if before[title] != after[title]}
    may |= affected()
    assert rendered - may == set(), f"rendered without a reason: {sorted(rendered - may)}"
    assert len(rendered) >= rendered_min, f"only {len(rendered)} of {len(may)} were rendered"
    assert world.wrong() == []
    print(f"{len(rendered)} of {len(titles)} pages rendered, {len(may)} depend")


def append(world: RealWorld, title: str, words: str) -> None:
    """Add words to what a page shows."""
    world.wiki.edit(title, world.wiki.text(title) + words)


def test_a_template_is_edited(world: RealWorld) -> None:
    title = "Template:Cite web"
    follow(world, lambda: append(world, title, " (checked)"), lambda: world.users_of(title), rendered_min=10)


def test_a_nested_template_is_edited(world: RealWorld) -> None:
    title = "Template:Citation/date"
    follow(world, lambda: append(world, title, "<!-- -->'"), lambda: world.users_of(title), rendered_min=10)


def test_a_template_that_many_pages_miss_is_created(world: RealWorld) -> None:
    title = templates.MISSING
    follow(world, lambda: world.wiki.edit(title, "''{{{title|a paper}}}''"), lambda: world.users_of(title), rendered_min=5)


def test_a_template_is_deleted_and_restored(world: RealWorld) -> None:
    title = templates.MISSING
    follow(world, lambda: world.wiki.delete(title), lambda: world.users_of(title), rendered_min=5)
    assert world.page(key_of(title))[0] == 404
    follow(world, lambda: world.wiki.restore(title), lambda: world.users_of(title), rendered_min=5)


def test_an_edit_that_changes_no_html_is_cut_off(world: RealWorld) -> None:
    title = "Template:Cite web"
    purged = world.platform.json("purging", "/v1/status")["purged"]
    cutoffs = world.status()["counts"]["cutoffs"]
    follow(world, lambda: append(world, title, "<noinclude>For writers only.</noinclude>"), lambda: world.users_of(title), rendered_min=10)
    assert world.status()["counts"]["cutoffs"] - cutoffs >= 10
    assert world.platform.json("purging", "/v1/status")["purged"] - purged <= 2, "only the template's own page changed"


def test_an_edit_behind_a_redirect_reaches_the_pages_that_use_the_redirect(world: RealWorld) -> None:
    used = "Template:Dmoz"
    world.after(lambda: world.wiki.edit("Reader", "{{Dmoz|Arts}} and [[Nowhere yet]]"))
    assert "Reader" in world.titles()
    both = lambda: world.users_of(used) | world.users_of("Template:DMOZ") | {"Reader"}  # noqa: E731
    follow(world, lambda: append(world, "Template:DMOZ", " of old"), both, rendered_min=2)
    assert "of old" in world.page("Reader")[2]


def test_a_page_is_moved(world: RealWorld) -> None:
    old, new = "Reader", "Nowhere yet"
    follow(world, lambda: world.wiki.move(old, new), lambda: world.users_of(old) | world.users_of(new))
    assert world.page("Nowhere_yet")[0] == 200
    status, headers, _ = world.platform.ask("propagation", world.path("Reader"))
    assert status == 301 and headers["location"].endswith("Nowhere_yet")


def test_a_page_is_deleted_and_what_links_to_it_turns_red(world: RealWorld) -> None:
    world.after(lambda: world.wiki.edit("Guide", "See [[Nowhere yet]]."))
    follow(world, lambda: world.wiki.delete("Nowhere yet"), lambda: world.users_of("Nowhere yet") | {"Reader"}, rendered_min=1)
    assert "redlink" in world.page("Guide")[2]
    assert world.page("Nowhere_yet")[0] == 404


def test_a_file_is_uploaded_and_replaced(world: RealWorld) -> None:
    title = templates.FILE_USED
    name = title.partition(":")[2]
    follow(world, lambda: world.wiki.upload(name, png(20, 10, 60)), lambda: world.users_of(title), rendered_min=3)
    follow(world, lambda: world.wiki.upload(name, png(40, 30, 90)), lambda: world.users_of(title), rendered_min=3)


def test_a_page_is_edited_twice_while_it_is_rendered(world: RealWorld) -> None:
    title = "Template:Cite web"

    def act() -> None:
        append(world, title, " once")
        eventually(lambda: world.status()["in_flight"] > 0, within_s=30, what=world.platform.last_words)
        append(world, title, " twice")

    follow(world, act, lambda: world.users_of(title), rendered_min=10)


def test_a_hidden_revision_leaves_no_stored_copy(world: RealWorld) -> None:
    def stored(html_hash: str) -> bool:
        with contextlib.closing(sqlite3.connect(f"file:{world.folder}/data/bodies.sqlite?mode=ro", uri=True)) as bodies:
            return bodies.execute("SELECT 1 FROM bodies WHERE hash = ?", (bytes.fromhex(html_hash),)).fetchone() is not None

    world.after(lambda: world.wiki.edit("Diary", "what nobody should have written"))
    hidden_hash = world.explain("Diary")["html_hash"]
    hidden_rev = world.explain("Diary")["rev"]
    world.after(lambda: world.wiki.edit("Diary", "what may be read"))
    assert stored(hidden_hash), "kept until the revision is hidden"
    follow(world, lambda: world.wiki.hide(hidden_rev), lambda: world.users_of("Diary"), rendered_min=0)
    assert not stored(hidden_hash)
    assert "may be read" in world.page("Diary")[2]


def test_it_is_killed_in_the_middle(world: RealWorld) -> None:
    title = "Template:Citation/core"

    def act() -> None:
        append(world, title, " (in the middle)")
        eventually(lambda: world.status()["in_flight"] > 0, within_s=30, what=world.platform.last_words)
        world.platform.kill()
        world.platform.start(HEADWATER_LOOP_WATCH=str(world.folder / "loop.json"))

    follow(world, act, lambda: world.users_of(title), rendered_min=10)


def test_the_loop_stayed_free(world: RealWorld) -> None:
    """The last test of this module: it ends the platform that the others used, and reads what it measured since the kill."""
    title = "Template:Cite web"
    follow(world, lambda: append(world, title, " at last"), lambda: world.users_of(title), rendered_min=10)
    world.platform.terminate()
    measured = json.loads((pathlib.Path(world.folder) / "loop.json").read_text())
    assert measured["callbacks"] > 1000
    # A start holds nobody up, since nobody is served yet; and on a shared machine the CPU time of a thread holds what its neighbours cost.
    served = [one for one in measured["worst"] if not one["callback"].startswith("platform.Platform._start")]
    long = [one for one in served if one["cpu_ms"] > 5]
    assert len(long) <= max(1, measured["callbacks"] / 10_000) and all(one["cpu_ms"] < 20 for one in long), served[:5]
