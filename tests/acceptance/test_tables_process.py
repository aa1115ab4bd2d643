"""The installed command serving tables: streams and signals, kills, clients that change, two programs that declare at once, many tables."""

import hashlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from tests.acceptance.served_process import COMMAND, environment, eventually
from tests.acceptance.tables_process import NOTED_MAX_S, TablesProcess

AT = "/v1/en.example/tables"
LOG: dict[str, Any] = {
    "attributes": {"h": "string", "r": "int", "v": "string"},
    "index": [{"attribute": "h", "type": "hash"}, {"attribute": "r", "type": "range"}],
    "options": {"changes": True},
}
TABLES = 1_000
TABLES_MAX_BYTES = 64 * 2**20
DECLARERS_ROUNDS = 40


def read_lines(peer: socket.socket, until: int) -> list[dict[str, Any]]:
    """The changes of a stream of lines, chunked or not, up to a number of them."""
    received = b""
    found: list[dict[str, Any]] = []
    while len(found) < until:
        part = peer.recv(65_536)
        assert part, received[-300:]
        received += part
        found = [json.loads(line) for line in received.split(b"\n") if line.strip().startswith(b"{") and line.strip().endswith(b"}")]
    return found


def read_to_end(peer: socket.socket) -> bytes:
    """Everything until the server closes."""
    received = b""
    while part := peer.recv(65_536):
        received += part
    return received


def test_sigterm_drains_while_streams_are_open(tmp_path: pathlib.Path) -> None:
    """Also while a reader takes nothing."""
    received: list[bytes] = []
    with TablesProcess(tmp_path) as tables:
        assert tables.ask("PUT", f"{AT}/log", LOG)[0] == 201
        with (
            tables.stream(f"{AT}/log/changes") as events,
            tables.stream(f"{AT}/log/changes", Accept="application/x-ndjson") as lines,
            tables.stream(f"{AT}/log/changes") as stuck,
        ):
            stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            for n in range(20):
                body = {"attributes": {"h": "a", "r": n, "v": "x" * 100_000}}
                assert tables.ask("PUT", f"{AT}/log/rows", body)[0] == 201
            read_lines(lines, 20)
            reading = threading.Thread(target=lambda: received.append(read_to_end(events)))
            reading.start()
            tables.terminate()
            reading.join(20)
            for whole in (*received, read_to_end(lines)):
                assert whole.endswith(b"0\r\n\r\n"), "a stream that was drained ends as one that is whole"
            assert 1 <= received[0].count(b"event: put") <= 20, "what it did not get it finds when it comes again"


def test_a_reader_that_goes_on_after_a_kill_misses_nothing(tmp_path: pathlib.Path) -> None:
    answered: list[int] = []

    def write(first: int) -> None:
        for n in range(first, first + 100_000):
            if tables.ask("PUT", f"{AT}/log/rows", {"attributes": {"h": "a", "r": n}})[0] != 201:
                return
            answered.append(n)

    seen: list[int] = []
    after = 0
    with TablesProcess(tmp_path) as tables:
        assert tables.ask("PUT", f"{AT}/log", LOG)[0] == 201
        for kill in range(4):
            writer = threading.Thread(target=write, args=(kill * 1_000_000,))
            writer.start()
            with tables.stream(f"{AT}/log/changes", Accept="application/x-ndjson", Last_Event_ID=str(after)) as peer:
                found = read_lines(peer, 10 + kill)
            tables.kill()
            writer.join(60)
            assert not writer.is_alive()
            seen += [change["row"]["r"] for change in found]
            after = found[-1]["id"]
            tables.start()
        status, rest = tables.ask("GET", f"{AT}/log/changes?wait=0&since={after}", Accept="application/x-ndjson")
        assert status == 200
        lines = rest.splitlines() if isinstance(rest, bytes) else [json.dumps(rest)]
        seen += [json.loads(line)["row"]["r"] for line in lines]
        assert len(seen) == len(set(seen)) and seen == sorted(seen)
        assert set(answered) <= set(seen)
        assert tables.ask("GET", f"{AT}/log/stats")[1]["rows"] == len(seen), "stream and rows agree"


def client(name: str, *verbs: str) -> dict[str, Any]:
    """A client whose token is its name."""
    return {"name": name, "token_sha256": hashlib.sha256(name.encode()).hexdigest(), "grants": {"en.example": {"*": list(verbs)}}}


def test_clients_are_reloaded_by_a_signal(tmp_path: pathlib.Path) -> None:
    with TablesProcess(tmp_path, {"tables": {"clients": [client("one", "declare", "read")]}}) as tables:
        assert tables.ask("PUT", f"{AT}/log", LOG, Authorization="Bearer one")[0] == 201
        assert tables.ask("GET", f"{AT}/log", Authorization="Bearer two")[0] == 401
        tables.configure({"tables": {"clients": [client("two", "read")]}})
        tables.signal(signal.SIGHUP)
        eventually(
            lambda: tables.ask("GET", f"{AT}/log", Authorization="Bearer two")[0] == 200, within_s=NOTED_MAX_S, what=lambda: tables.log
        )
        assert tables.ask("GET", f"{AT}/log", Authorization="Bearer one")[0] == 401
        assert tables.ask("DELETE", f"{AT}/log", Authorization="Bearer two")[0] == 403
        tables.configure({"tables": {"clients": [{"name": "broken"}]}})
        tables.signal(signal.SIGHUP)
        eventually(lambda: "config_refused" in tables.log, within_s=NOTED_MAX_S, what=lambda: tables.log)
        assert tables.ask("GET", f"{AT}/log", Authorization="Bearer two")[0] == 200


def test_nobody_else_is_let_in_without_clients(tmp_path: pathlib.Path) -> None:
    more = {"HEADWATER_DATA_DIR": str(tmp_path / "data"), "HEADWATER_TABLES__LISTEN": "0.0.0.0:0"}
    ended = subprocess.run([COMMAND, "serve", "tables"], env=environment(**more), capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert ended.returncode != 0 and "clients" in ended.stderr + ended.stdout


def test_a_page_whose_name_points_to_this_machine_reads_nothing(tmp_path: pathlib.Path) -> None:
    with TablesProcess(tmp_path) as tables:
        assert tables.ask("PUT", f"{AT}/log", LOG)[0] == 201
        for method, path in (("GET", f"{AT}/log"), ("POST", f"{AT}/log/query"), ("GET", "/metrics"), ("GET", "/nowhere")):
            for host in ("evil.example", f"evil.example:{tables.port}"):
                status, problem = tables.ask(method, path, Host=host)
                assert (status, problem["type"]) == (421, "/problems/misdirected-request")
        assert tables.ask("GET", f"{AT}/log", Host=f"localhost:{tables.port}")[0] == 200
        tables.configure({"hosts": ["data.example"]})
        tables.signal(signal.SIGHUP)
        asked = {"Host": "data.example"}
        eventually(lambda: tables.ask("GET", f"{AT}/log", **asked)[0] == 200, within_s=NOTED_MAX_S, what=lambda: tables.log)
        assert tables.ask("GET", f"{AT}/log", Host="evil.example")[0] == 421


DECLARER = """
import http.client, json, sys
port, who, rounds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for n in range(rounds):
    schema = {"attributes": {"h": "string", who: "int"}, "index": [{"attribute": "h", "type": "hash"}], "version": 1}
    same = {"attributes": {"h": "string"}, "index": [{"attribute": "h", "type": "hash"}]}
    for name, body in ((f"other-{n}", schema), (f"same-{n}", same)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        connection.request("PUT", f"/v1/en.example/tables/{name}", body=json.dumps(body))
        answer = connection.getresponse()
        print(name, answer.status, json.loads(answer.read()).get("outcome"))
        connection.close()
"""


def test_two_programs_declare_the_same_table_at_once(tmp_path: pathlib.Path) -> None:
    """Where both mean the same, one makes it and the other finds it; where they do not, one is refused."""
    with TablesProcess(tmp_path) as tables:
        programs = [
            subprocess.Popen(
                [sys.executable, "-c", DECLARER, str(tables.port), who, str(DECLARERS_ROUNDS)],
                stdout=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
            for who in ("one", "two")
        ]
        said = [program.communicate(timeout=120)[0].splitlines() for program in programs]
        for lines in zip(*said, strict=True):
            (name, *first), (other, *second) = (line.split() for line in lines)
            assert name == other
            if name.startswith("same"):
                assert sorted([tuple(first), tuple(second)]) == [("200", "unchanged"), ("201", "created")]
            else:
                assert sorted([first[0], second[0]]) == ["201", "409"]
                made = "one" if first[0] == "201" else "two"
                assert set(tables.ask("GET", f"{AT}/{name}")[1]["attributes"]) == {"h", made}


def test_a_thousand_tables(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    with TablesProcess(tmp_path) as tables:
        before_bytes, began_s = tables.memory_bytes(), time.monotonic()
        for n in range(TABLES):
            assert tables.ask("PUT", f"{AT}/table-{n}", LOG)[0] == 201
        took_s = time.monotonic() - began_s
        for n in range(0, TABLES, 100):
            assert tables.ask("PUT", f"{AT}/table-{n}/rows", {"attributes": {"h": "a", "r": n}})[0] == 201
        grown_bytes = tables.memory_bytes() - before_bytes
        with capsys.disabled():
            print(f"\n{TABLES} tables declared in {took_s:.1f} s; {grown_bytes / 2**20:.1f} MiB of memory")
        assert grown_bytes < TABLES_MAX_BYTES
        tables.terminate()
        tables.start()
        for n in range(0, TABLES, 100):
            status, found = tables.ask("POST", f"{AT}/table-{n}/query", {"attributes": {"h": "a"}})
            assert (status, [item["r"] for item in found["items"]]) == (200, [n])


@pytest.mark.proof
@pytest.mark.timeout(3600)
def test_a_million_rows_in_one_table(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = int(os.environ.get("HEADWATER_TABLES_ROWS", 1_000_000))
    with TablesProcess(tmp_path) as tables:
        assert tables.ask("PUT", f"{AT}/log", {**LOG, "options": {}})[0] == 201
        began_s = time.monotonic()
        for first in range(0, rows, 1000):
            batch = [{"attributes": {"h": str(first // 10_000), "r": first + n, "v": "x" * 100}} for n in range(1000)]
            assert tables.ask("POST", f"{AT}/log/batch", {"rows": batch})[0] == 201
        took_s = time.monotonic() - began_s
        stats = tables.ask("GET", f"{AT}/log/stats")[1]
        with capsys.disabled():
            print(f"\n{rows} rows in {took_s:.0f} s, {stats['bytes'] / 2**20:.0f} MiB, {tables.memory_bytes() / 2**20:.0f} MiB of memory")
        assert stats["rows"] == rows
        found, after, pages = 0, "", 0
        while pages == 0 or after:
            status, page = tables.ask("GET", f"{AT}/log/rows?limit=1000{after}")
            assert status == 200
            found, pages = found + len(page["items"]), pages + 1
            after = f"&next={page['next']}" if "next" in page else ""
        assert found == rows
        for first in range(0, rows, max(1, rows // 7)):
            status, one = tables.ask("POST", f"{AT}/log/query", {"attributes": {"h": str(first // 10_000), "r": first}})
            assert status == 200 and [item["r"] for item in one["items"]] == [first]
