"""How often an answer is handed to the kernel: a whole one once, a stream as soon as there is something of it."""

from typing import Any, cast

from headwater.http.serving import _Outgoing


class Transport:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.written.append(data)


class Connection:
    """What of a connection an answer meets."""

    def __init__(self) -> None:
        self.closing = False
        self.transport = Transport()

    def finish(self) -> None:
        self.closing = True


def outgoing() -> tuple[_Outgoing, Connection]:
    connection = Connection()
    return _Outgoing(cast(Any, connection)), connection


def test_a_head_that_is_held_leaves_with_its_body() -> None:
    out, connection = outgoing()
    for number in range(2):
        out.hold_next_if([(b"date", b"now"), (b"content-length", b"5")], method="GET")
        out.write(b"head%d " % number)
        assert len(connection.transport.written) == number
        out.write(b"hello")
    assert connection.transport.written == [b"head0 hello", b"head1 hello"]


def test_a_head_without_a_body_to_come_leaves_at_once() -> None:
    for method, headers in [("HEAD", [(b"content-length", b"5")]), ("GET", [(b"content-length", b"0")]), ("GET", [(b"date", b"now")])]:
        out, connection = outgoing()
        out.hold_next_if(headers, method=method)
        out.write(b"head")
        assert connection.transport.written == [b"head"]


def test_a_head_that_is_held_is_not_lost_when_the_answer_breaks_off() -> None:
    out, connection = outgoing()
    out.hold_next_if([(b"content-length", b"5")], method="GET")
    out.write(b"head")
    out.close()
    assert connection.transport.written == [b"head"] and connection.closing


def test_nothing_is_written_once_the_connection_is_closing() -> None:
    out, connection = outgoing()
    out.hold_next_if([(b"content-length", b"5")], method="GET")
    out.write(b"head")
    connection.closing = True
    out.write(b"hello")
    assert connection.transport.written == []
