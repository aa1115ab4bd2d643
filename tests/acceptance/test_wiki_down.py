"""The wiki is away, and Headwater is started anew meanwhile: pages are served as they are, and become right when the wiki is back."""

import pathlib

from tests.acceptance.platform_process import PlatformProcess
from tests.acceptance.river_world import RIVERS, WIKI, RiverWorld
from tests.acceptance.test_kill import all_right, filled


def test_a_restart_while_the_wiki_is_down_serves_its_pages(tmp_path: pathlib.Path) -> None:
    with RiverWorld(tmp_path) as world, PlatformProcess(world.config) as platform:
        filled(world, platform)
        platform.terminate()
        right = world.config.read_text()
        world.config.write_text(right.replace(world.wiki_url, "http://127.0.0.1:1"))
        platform.start()
        for title in RIVERS:
            path = f"/v1/{WIKI}/html/{title.replace(' ', '_')}"
            status, headers, body = platform.ask("propagation", path)
            assert (status, headers["x-headwater-state"]) == (200, "fresh")
            assert world.truth()[title.replace(" ", "_")] in body.decode()
        platform.terminate()
        world.edit("Template:Inner", "words of when it was away")
        world.config.write_text(right)
        platform.start()
        all_right(world, platform)
        platform.terminate()
