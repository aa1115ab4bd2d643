"""In which words a wiki is said to be out of reach."""

import errno
import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from headwater.mediawiki.client import reason_of

KEY = ConnectionKey(
    host="rivers.example", port=443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None, server_hostname=None
)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(errno.ECONNREFUSED, "Connect call failed")), "Connection refused"),
        (
            aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_NONAME, "Name or service not known")),
            "Name or service not known",
        ),
        (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLCertVerificationError(1, "expired")), "certificate"),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")), "TLS"),
        (aiohttp.ServerDisconnectedError(), "ServerDisconnectedError"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), "Connection reset by peer"),
    ],
)
def test_the_reason_is_told_and_no_address(error: aiohttp.ClientError | OSError, reason: str) -> None:
    told = reason_of(error)
    assert reason in told
    assert "rivers.example" not in told
