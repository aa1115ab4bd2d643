"""The console's token goes to the roles that it is for, and never to sessions."""

import asyncio

from headwater.app.console_role import Clients
from headwater.console.engines.http import HttpRoleClient


def test_sessions_are_asked_without_the_token_of_the_other_roles() -> None:
    async def work() -> None:
        heads: dict[str, bytes] = {}

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads[address_of(writer.get_extra_info("sockname"))] = await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
            await writer.drain()
            writer.close()

        servers = [await asyncio.start_server(answer, "127.0.0.1", 0) for _ in range(2)]
        role, sessions = (address_of(server.sockets[0].getsockname()) for server in servers)
        with_token, without = (HttpRoleClient(timeout_s=5, answer_bytes_max=100, token=token) for token in ("of-the-roles", None))
        clients = Clients(with_token, without, sessions)
        answers = [await clients.ask(address, "/readyz") for address in (role, sessions)]
        await clients.close()
        for server in servers:
            server.close()
        assert [one.body for one in answers] == [b"ok", b"ok"]
        assert b"of-the-roles" in heads[role]
        assert b"uthorization" not in heads[sessions] and b"of-the-roles" not in heads[sessions]

    asyncio.run(asyncio.wait_for(work(), 20))


def address_of(name: tuple[str, int]) -> str:
    """A socket's name as host:port."""
    return f"{name[0]}:{name[1]}"
