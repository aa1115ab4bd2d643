"""A client that may write can write anything: what that does here, and what it does not.

The store gives every value back as it came. Whether MediaWiki believes it is decided by its `hmac_key` (docs/how-to/mediawiki-sessions.md);
here a forged session is only bytes: read with bounds, never unserialised, ended with the sessions of the user it claims to be.
"""

import base64
import hashlib

import pytest
from tests.integration.sessions_server import client, serving

from headwater.sessions.config import NamespaceConfig, SessionsConfig, Verb

BASE = "/sessions/v1/"
KEY = "enwiki%3AMWSession%3Aforged"
PAYLOADS = {
    "a user without token": b'JSON..{"data":[],"metadata":{"userId":1,"userName":"Admin","userToken":null}}',
    "an object that would run code": b'PHP..a:2:{s:4:"data";O:6:"Gadget":1:{s:3:"cmd";s:2:"id";}s:8:"metadata";a:1:{s:6:"userId";i:1;}}',
    "a signature of somebody else": b"JSON." + base64.b64encode(hashlib.sha256(b"?").digest()) + b'.{"metadata":{"userId":1}}',
}
CONFIG = SessionsConfig(
    namespaces={"sessions": NamespaceConfig(base=BASE, scan_subjects=True)},
    clients=(client("wiki", {"*": tuple(Verb)}), client("reader", {"*": (Verb.READ,)})),
)


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
def test_a_forged_session_is_bytes_and_ends_with_those_of_its_user(payload: bytes) -> None:
    with serving(CONFIG) as server:
        wiki = {"authorization": "Bearer token-wiki"}
        assert server.ask("POST", f"{BASE}{KEY}", payload, **wiki).status == 201
        genuine = b'JSON..{"metadata":{"userId":1,"userName":"Admin"}}'
        assert server.ask("POST", f"{BASE}enwiki%3AMWSession%3Agenuine", genuine, **wiki).status == 201
        assert server.ask("GET", f"{BASE}{KEY}", None, **wiki).body == payload
        assert server.ask("DELETE", "/v2/sessions/subjects/enwiki%3A1", None, **wiki).status == 204
        for key in (KEY, "enwiki%3AMWSession%3Agenuine"):
            assert server.ask("GET", f"{BASE}{key}", None, **wiki).status == 404
        assert server.ask("POST", f"{BASE}{KEY}", payload, **wiki).status == 409, "nor is it written again"


def test_who_may_not_write_forges_nothing() -> None:
    with serving(CONFIG) as server:
        for headers in ({"authorization": "Bearer token-reader"}, {"authorization": "Bearer guessed"}, {}):
            for method in ("POST", "PUT"):
                assert server.ask(method, f"{BASE}{KEY}", PAYLOADS["a user without token"], **headers).status == 401
            assert server.ask("POST", "/v2/sessions", b"v", **headers).status in (401, 404)
        assert server.ask("GET", f"{BASE}{KEY}", authorization="Bearer token-wiki").status == 404
