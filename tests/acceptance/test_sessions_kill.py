"""Sessions while their process is killed, given other keys, or filled up: what was answered holds, and nothing that ended comes back.

Every client keeps a book of what it sent and what was answered. After each kill the book is compared with what the service, started again
on the same directory, serves: a save that was answered is there, or a later one of the same key; what was deleted or revoked is not.
"""

import json
import os
import pathlib
import random
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from tests.acceptance.served_process import eventually
from tests.acceptance.sessions_process import SessionsProcess
from tests.acceptance.test_sessions_process import reload, succeeded

CLIENTS = 6
KEYS_PER_CLIENT = 5
FAILPOINTS = ("sessions.save", "sessions.saved", "sessions.delete", "sessions.revoke", "sessions.rotate")
_QUIET = "storage: {ballast_bytes: 0B}\nlogging: {level: warning}\n"


@dataclass
class Page:
    """What one client knows of one key: only this client uses it, one request after the other.

    Attributes:
        answered: number of the last save that was answered, None after a delete that was answered.
        open: numbers of saves, and "delete", that were sent after that and not answered.
    """

    key: str
    answered: int | None = None
    open: list[int | str] = field(default_factory=list)

    def allows(self, found: int | None) -> bool:
        """Whether a read may find this, by what was answered and what may have happened."""
        possible: set[int | None] = {self.answered}
        possible |= {None if act == "delete" else int(act) for act in self.open}
        return found in possible


@dataclass
class Client(threading.Thread):
    """Saves, reads, deletes, mints and revokes until the service is gone."""

    service: SessionsProcess
    number: int
    seed: int
    pages: list[Page] = field(default_factory=list)
    minted: dict[str, list[str]] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    turn: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.pages = self.pages or [Page(f"/sessions/v1/client-{self.number}-{n}") for n in range(KEYS_PER_CLIENT)]

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        """Act until a request is not answered."""
        dice = random.Random(self.seed)
        while dice.choices((self.save, self.read, self.delete, self.mint, self.revoke), (6, 3, 2, 2, 1))[0](dice):
            pass

    def save(self, dice: random.Random) -> bool:
        """Save under one of the keys."""
        page = dice.choice(self.pages)
        self.turn += 1
        page.open.append(self.turn)
        status = self.service.ask("POST", page.key, b"%d" % self.turn + b"." * 1500).status
        if status == 201:
            page.answered, page.open = self.turn, []
        return self.counted("save", status, 201)

    def read(self, dice: random.Random) -> bool:
        """Read one of the keys; nothing is open while the service lives."""
        page = dice.choice(self.pages)
        answer = self.service.ask("GET", page.key)
        if answer.status and not page.open and found_in(answer.status, answer.body) != page.answered:
            self.wrong.append(f"{page} was read as {answer.status} {answer.body[:20]!r}")
        return answer.status != 0

    def delete(self, dice: random.Random) -> bool:
        """Delete one of the keys."""
        page = dice.choice(self.pages)
        page.open.append("delete")
        status = self.service.ask("DELETE", page.key).status
        if status == 204:
            page.answered, page.open = None, []
        return self.counted("delete", status, 204)

    def mint(self, dice: random.Random) -> bool:
        """Make a session of a subject."""
        subject = f"user-{self.number}-{self.turn // 20}"
        answer = self.service.ask("POST", "/v2/sessions", b"minted" * 100, {"session-subject": subject})
        if answer.status == 201:
            self.minted.setdefault(subject, []).append(json.loads(answer.body)["session"])
        return self.counted("mint", answer.status, 201)

    def revoke(self, dice: random.Random) -> bool:
        """Revoke all sessions of a subject; it gets no new ones."""
        subjects = sorted(self.minted.keys() - self.revoked)
        if not subjects:
            return True
        self.turn += 20
        status = self.service.ask("DELETE", f"/v2/sessions/subjects/{subjects[0]}").status
        if status == 204:
            self.revoked.add(subjects[0])
        elif status == 0:
            self.minted.pop(subjects[0])  # it may have happened or not
        return self.counted("revoke", status, 204)

    def counted(self, act: str, status: int, expected: int) -> bool:
        """Whether to go on; a status that is neither the expected one nor none at all is wrong."""
        if status not in (0, expected):
            self.wrong.append(f"{act}: {status}")
        return status == expected

    def compare(self) -> int:
        """Compare the book with what is served; how many facts were compared."""
        for page in self.pages:
            answer = self.service.ask("GET", page.key)
            found = found_in(answer.status, answer.body)
            if not page.allows(found):
                self.wrong.append(f"{page} is served as {found}")
            page.answered, page.open = found, []
        compared = len(self.pages)
        for subject, keys in self.minted.items():
            for key in keys:
                status = self.service.ask("GET", f"/v2/sessions/sessions/{key}").status
                expected = 404 if subject in self.revoked else 200
                if status != expected:
                    self.wrong.append(f"a session of a subject {'revoked' if expected == 404 else 'not revoked'}: {status}")
                compared += 1
        return compared


def found_in(status: int, body: bytes) -> int | None:
    """The number of the save that an answer shows."""
    assert status in (200, 404), status
    return int(body.split(b".")[0]) if status == 200 else None


def start_armed(service: SessionsProcess, dice: random.Random) -> pathlib.Path:
    """Start it with a failpoint at which it stops itself, or with none; the file that is there once it has stopped."""
    note = service.folder / "failpoint"
    note.unlink(missing_ok=True)
    failpoint = dice.choice((None, *FAILPOINTS))
    armed = (
        {} if failpoint is None else {"HEADWATER_FAILPOINT": f"{failpoint}:{dice.randint(1, 40)}", "HEADWATER_FAILPOINT_FILE": str(note)}
    )
    service.start(**armed)
    return note


def killed_at_work(service: SessionsProcess, note: pathlib.Path, seed: int, dice: random.Random) -> list[Client]:
    """Clients at work, and a kill in the middle, at the failpoint or at any time; the clients with their books."""
    clients = [Client(service, number, seed * CLIENTS + number) for number in range(CLIENTS)]
    for client in clients:
        client.pages = [Page(f"/sessions/v1/trial-{seed}-{client.number}-{n}") for n in range(KEYS_PER_CLIENT)]
        client.start()
    end_s = time.monotonic() + dice.uniform(0.05, 0.6)
    while time.monotonic() < end_s and not note.exists():
        time.sleep(0.005)
    assert service.process is not None
    os.killpg(service.process.pid, signal.SIGKILL)
    for client in clients:
        client.join()
    service.kill()
    return clients


def kill_again_and_again(folder: pathlib.Path, trials: int) -> None:
    """So many kills on one directory. What a kill has left is compared in the process that the next one will kill."""
    service = SessionsProcess(folder / "service", config=_QUIET)
    compared, wrong = 0, []
    try:
        note = start_armed(service, random.Random(0))
        for seed in range(trials):
            clients = killed_at_work(service, note, seed, random.Random(seed))
            note = start_armed(service, random.Random(seed + 1))
            compared += sum(client.compare() for client in clients)
            wrong += [f"trial {seed}: {fact}" for client in clients for fact in client.wrong]
    finally:
        service.kill()
    print(f"{trials} kills, {compared} facts compared, {len(wrong)} wrong")
    assert compared > trials * CLIENTS * KEYS_PER_CLIENT
    assert wrong == []


@pytest.mark.timeout(400)
def test_kills_lose_nothing_and_bring_nothing_back(tmp_path: pathlib.Path) -> None:
    kill_again_and_again(tmp_path, 40)


@pytest.mark.proof
def test_hundreds_of_kills_lose_nothing_and_bring_nothing_back(tmp_path: pathlib.Path) -> None:
    kill_again_and_again(tmp_path, 500)


def test_the_book_notices_what_is_lost_and_what_comes_back(tmp_path: pathlib.Path) -> None:
    """The comparison itself: a store put back to an earlier state must be found out."""
    with SessionsProcess(tmp_path / "service", config=_QUIET) as service:
        client = Client(service, 0, 0)
        dice = random.Random(1)
        client.pages = client.pages[:1]
        assert client.save(dice)
        backup = tmp_path / "backup.sqlite"
        succeeded(service, "sessions", "backup", str(backup))
        assert client.delete(dice)
        service.terminate()
        succeeded(service, "sessions", "restore", str(backup), "--keep-sessions", "--reason", "to see whether the test notices")
        service.start()
        client.compare()
        assert any("is served as 1" in fact for fact in client.wrong)
        client.wrong.clear()
        service.terminate()
        succeeded(service, "sessions", "restore", str(backup))
        service.start()
        client.compare()
        assert any("is served as None" in fact for fact in client.wrong)


# Keys are changed while sessions are read


def test_no_read_fails_while_keys_are_changed(tmp_path: pathlib.Path) -> None:
    with SessionsProcess(tmp_path / "service", config=_QUIET.replace("warning", "info")) as service:
        keys = [f"/sessions/v1/key-{number}" for number in range(60)]
        for key in keys:
            assert service.ask("POST", key, key.encode()).status == 201
        reads, failed, stop = [0], list[str](), threading.Event()

        def read_on(number: int) -> None:
            dice = random.Random(number)
            while not stop.is_set():
                key = dice.choice(keys)
                answer = service.ask("GET", key)
                reads[0] += 1
                if (answer.status, answer.body) != (200, key.encode()):
                    failed.append(f"{key}: {answer.status}")
                if number == 0 and service.ask("POST", key, key.encode()).status != 201:
                    failed.append(f"{key} was not saved")

        threads = [threading.Thread(target=read_on, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        try:
            for old, new in ((1, 2), (2, 3), (3, 4)):
                assert succeeded(service, "sessions", "keys", "add")["key_id"] == new
                reload(service)
                succeeded(service, "sessions", "keys", "activate", str(new))
                reload(service)
                read_much = has_grown(reads, 100)
                eventually(rows_under(service, old, 0), within_s=60, what=lambda: "rows stay under the old key")
                eventually(read_much, within_s=60, what=lambda: "nobody reads")
                succeeded(service, "sessions", "keys", "retire", str(old))
                reload(service)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert failed == []
        assert [service.ask("GET", key).body for key in keys] == [key.encode() for key in keys]


_KEYS = "sessions: {keys: {ids: [%s], active: 2}}\n" + _QUIET.replace("warning", "info")


@pytest.mark.parametrize("by", ["a start", "a reload"])
def test_nothing_that_ended_while_its_key_was_away_comes_back_with_the_key(tmp_path: pathlib.Path, by: str) -> None:
    service = SessionsProcess(tmp_path / "service", config=_QUIET)

    def use(ids: str) -> None:
        service.config = _KEYS % ids
        if by == "a reload":
            (service.folder / "headwater.yaml").write_text(service.config)
            reload(service)
        else:
            service.terminate()
            service.start()

    def minted() -> str:
        answer = service.ask("POST", "/v2/sessions", b"value", {"session-subject": "me"})
        assert answer.status == 201
        return str(json.loads(answer.body)["session"])

    with service:
        deleted, revoked = minted(), minted()
        succeeded(service, "sessions", "keys", "add")
        service.terminate()
        service.config = _KEYS % "1, 2"
        service.start()
        newer = minted()

        def shown() -> list[int]:
            return [service.ask("GET", f"/v2/sessions/sessions/{one}").status for one in (deleted, revoked, newer)]

        use("2")
        assert shown() == [404, 404, 200], "without its key a session is not there"
        assert service.ask("DELETE", f"/v2/sessions/sessions/{deleted}").status == 204
        assert service.ask("DELETE", "/v2/sessions/subjects/me").status == 204
        newest = minted()
        use("1, 2")
        assert shown() == [404, 404, 404], "what was logged out or revoked meanwhile is alive again"
        assert service.ask("GET", f"/v2/sessions/sessions/{newest}").status == 200, "nothing else has ended"
        service.kill()
        service.start()
        assert shown() == [404, 404, 404]
        assert service.ask("GET", f"/v2/sessions/sessions/{newest}").status == 200, "a key that is there is not ended again"


def has_grown(count: list[int], by: int) -> Callable[[], bool]:
    """Whether a count has grown by so much since now."""
    begun = count[0]
    return lambda: count[0] >= begun + by


def rows_under(service: SessionsProcess, key_id: int, rows: int) -> Callable[[], bool]:
    """Whether so many rows are sealed under a key."""
    return lambda: next(state["rows"] for state in succeeded(service, "sessions", "keys", "list") if state["id"] == key_id) == rows


# One namespace is filled up

_TWO = """
sessions:
  namespaces:
    full: {base: /full/v1/, rows_max: 200}
    other: {base: /other/v1/}
"""


def test_a_namespace_that_is_full_leaves_the_others_alone(tmp_path: pathlib.Path) -> None:
    with SessionsProcess(tmp_path / "service", config=_TWO + _QUIET) as service:
        statuses = [service.ask("POST", f"/full/v1/{number}", b"x" * 500).status for number in range(260)]
        accepted = [number for number, status in enumerate(statuses) if status == 201]
        assert accepted == list(range(200)), f"{len(accepted)} of 200"
        assert set(statuses[200:]) == {507}
        assert all(service.ask("GET", f"/full/v1/{number}").status == 200 for number in accepted), "nothing was wiped"
        assert service.ask("POST", "/full/v1/0", b"y" * 500).status == 201, "what is there can be overwritten"
        assert [service.ask("POST", f"/other/v1/{number}", b"x").status for number in range(50)] == [201] * 50
        assert service.ask("DELETE", "/full/v1/1").status == 204
        assert service.ask("POST", "/full/v1/new", b"x").status == 201
