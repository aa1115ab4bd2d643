"""An unmodified MediaWiki keeps its sessions in Headwater: a person's whole life at it, through forms and cookies.

Every look at a page where somebody has to be logged in is counted; that nobody ever was logged out against their will is the result.
"""

import hashlib
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from tests.acceptance.sessions_process import SessionsProcess
from tests.real.browser import Browser
from tests.real.wiki import ADMIN, PASSWORD, RealWiki

TOKEN = "a-token-of-the-wiki-0123456789abcdef"
HMAC_KEY = "f3b1c9f1d7e84a5c9b1e7a3d5c2b4a6e8f0d1c3b"
BOTS = 40
_CONFIG = """
sessions:
  clients:
    - {{name: wiki, token_sha256: "{digest}", grants: {{"*": [read, write, delete]}}}}
storage: {{ballast_bytes: 0B}}
logging: {{level: warning}}
"""
_BLOCK = """
$wgObjectCaches['sessions'] = [
    'class' => 'RESTBagOStuff',
    'url' => 'http://{listen}/sessions/v1/',
    {parameters}
];
$wgSessionCacheType = 'sessions';
$wgObjectCacheSessionExpiry = 86400;
foreach ( [ 'session', 'http', 'objectcache', 'exception', 'error' ] as $group ) {{
    $wgDebugLogGroups[$group] = getenv( 'HW_HOME' ) . '/sessions.log';
}}
"""
_HEADERS = """'httpParams' => [
        {method}
        'writeHeaders' => [ 'content-type' => 'application/octet-stream', 'authorization' => 'Bearer {token}' ],
        'readHeaders' => [ 'authorization' => 'Bearer {token}' ],
        'deleteHeaders' => [ 'authorization' => 'Bearer {token}' ],
    ],
    'connTimeout' => 1.2, 'reqTimeout' => 3.0,"""


def parameters(serialisation: str, *, hmac: bool, method: str | None = "POST") -> str:
    """The part of the block that differs from wiki to wiki."""
    named = f"'writeMethod' => '{method}'," if method else ""
    parts = [_HEADERS.format(token=TOKEN, method=named), f"'serialization_type' => '{serialisation}',"]
    return "\n    ".join(parts + ([f"'hmac_key' => '{HMAC_KEY}',"] if hmac else []))


@dataclass
class World:
    """A service, a wiki that keeps its sessions there, and the count of looks that found somebody logged out."""

    sessions: SessionsProcess
    wiki: RealWiki
    looks: int = 0
    logged_out: list[str] = field(default_factory=list)

    def keep_sessions(self, block: str) -> None:
        """Let the wiki use the service under other parameters. Its workers keep compiled settings for seconds, so they are started anew."""
        self.wiki.stop()
        (self.wiki.home / "extra.php").write_text("<?php" + _BLOCK.format(listen=self.sessions.listen, parameters=block))
        self.wiki.start()

    def must_be_in(self, person: Browser, when: str) -> None:
        """Look at a page as somebody who has to be logged in."""
        self.looks += 1
        if person.who() != ADMIN:
            log = self.wiki.home / "sessions.log"
            self.logged_out.append(f"{when}; the wiki's own words: {log.read_text()[-2000:] if log.exists() else 'none'}")

    def stored(self, session_id: str) -> int:
        """The status of a read of the session that a cookie names."""
        key = urllib.parse.quote(f"wiki:MWSession:{session_id}", safe="")
        return self.sessions.ask("GET", f"/sessions/v1/{key}", headers={"authorization": f"Bearer {TOKEN}"}).status

    def person(self, *, remember: bool = False) -> Browser:
        """Somebody who has just logged in."""
        person = Browser(self.wiki.url)
        person.log_in(ADMIN, PASSWORD, remember=remember)
        self.must_be_in(person, "after the login")
        return person


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One wiki and one service for all tests of this module."""
    folder = tmp_path_factory.mktemp("sessions")
    config = _CONFIG.format(digest=hashlib.sha256(TOKEN.encode()).hexdigest())
    with SessionsProcess(folder / "service", config=config) as sessions:
        block = _BLOCK.format(listen=sessions.listen, parameters=parameters("JSON", hmac=False))
        with RealWiki(folder / "wiki", settings=block) as wiki:
            yield World(sessions, wiki)


VARIANTS: dict[str, Callable[[], str]] = {
    "JSON": lambda: parameters("JSON", hmac=False),
    "JSON with hmac_key": lambda: parameters("JSON", hmac=True),
    "PHP": lambda: parameters("PHP", hmac=False),
    "PHP with hmac_key": lambda: parameters("PHP", hmac=True),
    "PUT, as without writeMethod": lambda: parameters("PHP", hmac=True, method=None),
}


@pytest.mark.real("mediawiki")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_life_of_a_person(world: World, variant: str) -> None:
    world.keep_sessions(VARIANTS[variant]())
    before, person = len(world.logged_out), Browser(world.wiki.url)
    assert person.who() is None
    assert person.session_id() is None, "who only reads needs no session"

    person.open("/index.php?title=Special:UserLogin")
    anonymous = person.session_id()
    assert anonymous is not None
    assert world.stored(anonymous) == 200
    person.log_in(ADMIN, PASSWORD)
    known = person.session_id()
    assert known is not None
    assert known != anonymous, "the id changes at the login"
    assert (world.stored(known), world.stored(anonymous)) == (200, 404)
    world.must_be_in(person, "after the login")

    assert person.edit(f"Sandbox {variant}", "one")
    with ThreadPoolExecutor(2) as tabs:
        saved = list(tabs.map(lambda tab: person.edit(f"Tab {tab} {variant}", "two"), range(2)))
        list(tabs.map(lambda tab: world.must_be_in(person, f"in tab {tab}"), range(4)))
    assert saved == [True, True]
    assert world.logged_out[before:] == []
    assert world.wiki.text(f"Tab 1 {variant}") == "two"

    other = world.person()
    person.log_out()
    assert person.who() is None
    assert world.stored(known) == 404
    replayed = Browser(world.wiki.url)
    other.give_cookies(replayed, session_id=known)
    assert replayed.who() is None, "an id that was logged out is worth nothing"
    world.must_be_in(other, "after somebody else's logout")
    assert world.logged_out[before:] == []


@pytest.mark.real("mediawiki")
@pytest.mark.timeout(240)
def test_a_remembered_person_comes_back_with_another_session(world: World) -> None:
    world.keep_sessions(parameters("PHP", hmac=True))
    person = world.person(remember=True)
    first = person.session_id()
    person.forget_session()
    world.must_be_in(person, "remembered")
    assert person.session_id() not in (None, first)


@pytest.mark.real("mediawiki")
@pytest.mark.timeout(240)
def test_an_invented_id_is_replaced_and_opens_nothing(world: World) -> None:
    world.keep_sessions(parameters("JSON", hmac=True))
    owner, thief = world.person(), Browser(world.wiki.url)
    invented = "a" * 32
    owner.give_cookies(thief, session_id=invented)
    thief.open("/index.php?title=Special:UserLogin")
    assert thief.who() is None
    assert thief.session_id() != invented
    assert world.stored(invented) == 404, "an unknown id is never made by a client that offers it"
    world.must_be_in(owner, "after an attempt with an invented id")


@pytest.mark.real("mediawiki")
@pytest.mark.timeout(300)
def test_nobody_is_logged_out_by_a_kill_or_by_bots(world: World) -> None:
    world.keep_sessions(parameters("PHP", hmac=True))
    people = [world.person(remember=number == 0) for number in range(4)]
    world.sessions.kill()
    remembered = people[0].who()  # the wiki cannot know the session, and says so to whoever asks now
    world.sessions.start()
    for number, person in enumerate(people):
        world.must_be_in(person, f"person {number} after a kill")
    assert remembered == ADMIN, "who is remembered is let in by the wiki itself"

    def bot(number: int) -> int:
        visitor = Browser(world.wiki.url)
        people[1].give_cookies(visitor, session_id=hashlib.sha256(b"bot %d" % number).hexdigest()[:32])
        return visitor.open("/index.php?title=Special:UserLogin" if number % 2 else "/index.php?title=Special:BlankPage").status

    with ThreadPoolExecutor(4) as pool:
        statuses = [pool.submit(bot, number) for number in range(BOTS)]
        for _ in range(4):
            for number, person in enumerate(people):
                world.must_be_in(person, f"person {number} among bots")
        assert {answer.result() for answer in statuses} == {200}
    assert world.logged_out == [], f"{len(world.logged_out)} of {world.looks}"
    print(f"logged out against their will: {len(world.logged_out)} in {world.looks} looks")
