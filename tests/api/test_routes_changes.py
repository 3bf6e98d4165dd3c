"""Endpoints that change the node: who may, what each does, and what is refused. Sessions of the console.

Covers: `control.owner`.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from masa_node.accounts.key_file import change_keys
from masa_node.accounts.keys import KeyRules, NamedKey, made_key
from masa_node.api.control.owner import InviteWanted, LinkGiven, TokenGiven
from masa_node.api.paths import PEER_VERBS
from masa_node.api.routes import CHANGES, MAX_BODY_BYTES, methods_at
from masa_node.api.views.openapi import NodeEndpoint
from tests.api.console_session import SESSION, a_token, ask, bearer, exchanged, signed_in
from tests.api.raw_http import ask_once, chat, get, head, line_to, post
from tests.api.serving import ServingNode

A = "a" * 64
STARTED_AT_UNIX_S = 1_700_000_000.0
OWNERS = [each for each in CHANGES if each.is_owners]
PAGE = b"Origin: https://evil.example\r\n"
ME = b"/api/v1/console/me"
# At the store, for commands.
OFTEN = {f"masa_node.node.peering.{module}.LOOK_EVERY_S": 0.02 for module in ("console_desk", "network")}


def key_named(name: str, rules: KeyRules, masa_dir: Path) -> str:
    def change(keys: list[NamedKey]) -> tuple[str, list[NamedKey]]:
        return made_key(keys, name, rules, STARTED_AT_UNIX_S)

    return change_keys(masa_dir, change)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServingNode]:
    """A node without peers, and without keys."""
    with ServingNode(tmp_path_factory.mktemp("alone"), {"NETWORK": "off"}, OFTEN) as running:
        yield running


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return {}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory, keys: dict[str, str]) -> Iterator[ServingNode]:
    """A node with a key of API_KEY, a key with a name, and one with --admin."""
    directory = tmp_path_factory.mktemp("locked")
    for name in ("guest", "admin"):
        keys[name] = key_named(name, KeyRules(is_admin=name == "admin"), directory / "masa")
    with ServingNode(directory, {"API_KEY": "secret", "PEER_HOST": "127.0.0.1"}, OFTEN) as running:
        yield running


def target_of(endpoint: NodeEndpoint) -> bytes:
    path = endpoint.path.replace("{invite_id}", "0" * 8).replace("{node_id}", A).replace("{verb}", "block")
    return path.encode()


# ---- signing in ----


async def test_a_link_of_the_command_signs_a_browser_in_once(locked: ServingNode) -> None:
    token = await a_token(locked)
    reply = await exchanged(locked, token)
    assert (reply.status, reply.header("cache-control"), reply.header("set-cookie")) == (200, "no-store", None)
    session = bearer(reply.json()["session"])
    me = (await ask(locked, b"GET", ME, session)).json()
    assert me == {
        "name": "owner",
        "is_owner": True,
        "may_change": True,
        "by": "session",
        "expires_at_unix_s": reply.json()["expires_at_unix_s"],
        "key_needed": True,
    }
    again = await exchanged(locked, token)
    assert (again.status, "masa-node console" in again.body.decode()) == (401, True)
    assert token not in locked.log
    assert str(reply.json()["session"]) not in locked.log


async def test_a_session_ends_when_it_is_told_to_on_every_connection(locked: ServingNode) -> None:
    session = await signed_in(locked)
    async with line_to(locked.port) as line:
        assert (await line.ask(get(ME, session))).status == 200
        assert (await ask(locked, b"DELETE", SESSION, session)).json() == {"ended": 1}
        assert (await line.ask(get(ME, session))).status == 401
    assert (await ask(locked, b"DELETE", SESSION, session)).status == 401


async def test_a_session_works_where_no_key_is_needed_and_a_wrong_one_is_a_local_caller(alone: ServingNode) -> None:
    session = await signed_in(alone)
    asked = [(await ask(alone, b"GET", ME, each)).json() for each in (b"", session, session[:-3] + b"\r\n")]
    assert [(each["by"], each["may_change"]) for each in asked] == [
        ("local", False),
        ("session", True),
        ("local", False),
    ]
    assert [each["key_needed"] for each in asked] == [False] * 3


@pytest.mark.parametrize("token", ["", "x", "x" * 43, "x" * 257, "é", None, 7, ["x"]])
async def test_a_guessed_token_gives_nothing(locked: ServingNode, token: object) -> None:
    reply = await ask(locked, b"POST", SESSION, body={"token": token})
    assert reply.status in (400, 401)
    assert b"session" not in reply.body or b"masa-node console" in reply.body


async def test_after_a_restart_there_is_no_session(tmp_path: Path) -> None:
    settings = {"API_KEY": "secret", "NETWORK": "off"}
    with ServingNode(tmp_path, settings, OFTEN) as first:
        session, token = await signed_in(first), await a_token(first)
    with ServingNode(tmp_path, settings, OFTEN) as second:
        assert (await ask(second, b"GET", ME, session)).status == 401
        assert (await exchanged(second, token)).status == 401


async def test_a_session_asks_llms_as_the_owner_does(locked: ServingNode) -> None:
    session = await signed_in(locked)
    assert (await ask_once(locked.port, post(chat(), session))).status == 200
    (race,) = (await ask(locked, b"GET", b"/api/v1/races?limit=1", session)).json()["races"]  # type: ignore[misc]
    assert race["key"] == "owner"


# ---- who may ----


@pytest.mark.parametrize("endpoint", OWNERS, ids=lambda each: f"{each.method} {each.path}")
async def test_seeing_the_node_is_not_enough_to_change_it(
    alone: ServingNode, locked: ServingNode, keys: dict[str, str], endpoint: NodeEndpoint
) -> None:
    for node, key in ((alone, b""), (locked, bearer("secret")), (locked, bearer(keys["guest"]))):
        reply = await ask(node, endpoint.method.encode(), target_of(endpoint), key, {} if endpoint.body else None)
        assert (reply.status, reply.error_code) == (403, "change_refused")
        assert b"masa-node console" in reply.body
    reply = await ask(locked, endpoint.method.encode(), target_of(endpoint), b"", {} if endpoint.body else None)
    assert reply.status == 401


async def test_a_key_with_admin_may(locked: ServingNode, keys: dict[str, str]) -> None:
    admin = bearer(keys["admin"])
    me = (await ask(locked, b"GET", ME, admin)).json()
    assert (me["name"], me["by"], me["may_change"], me["is_owner"]) == ("admin", "key", True, True)
    blocked = await ask(locked, b"POST", f"/api/v1/peers/{A}/block".encode(), admin)
    assert (blocked.status, "is blocked" in str(blocked.json()["words"])) == (200, True)
    assert (await ask(locked, b"POST", f"/api/v1/peers/{A}/unblock".encode(), admin)).status == 200


async def test_others_do_not_see_invites(locked: ServingNode, keys: dict[str, str]) -> None:
    assert (await ask(locked, b"GET", b"/api/v1/invites", bearer(keys["guest"]))).status == 403
    assert (await ask(locked, b"GET", b"/api/v1/invites", bearer("secret"))).status == 200


async def test_a_page_of_another_origin_changes_nothing(alone: ServingNode) -> None:
    session, token = await signed_in(alone), await a_token(alone)
    for endpoint in CHANGES:
        body = {"token": token} if endpoint.body is TokenGiven else {} if endpoint.body else None
        reply = await ask(alone, endpoint.method.encode(), target_of(endpoint), session + PAGE, body)
        assert (reply.status, reply.error_code) == (403, "origin_refused")
    preflight = head(b"OPTIONS", b"/api/v1/join", PAGE + b"Access-Control-Request-Method: POST\r\n")
    assert (await ask_once(alone.port, preflight)).status == 403
    assert (await exchanged(alone, token)).status == 200, "it was not spent"


# ---- what each does ----


async def test_an_invite_is_made_listed_shown_once_and_revoked(locked: ServingNode) -> None:
    session = await signed_in(locked)
    made = await ask(locked, b"POST", b"/api/v1/invites", session, {"note": "bob", "uses": 2, "lasts_s": 3_600})
    assert made.status == 201
    invite = made.json()
    assert (invite["note"], invite["uses"], str(invite["link"]).startswith("masa1-")) == ("bob", 2, True)
    rows = invite["qr"]
    assert isinstance(rows, list)
    assert {len(row) for row in rows} == {len(rows)}
    listed = await ask(locked, b"GET", b"/api/v1/invites", session)
    assert str(invite["link"]) not in listed.body.decode()
    (found,) = listed.json()["invites"]  # type: ignore[misc]
    assert (found["id"], found["note"], found["uses_left"]) == (invite["id"], "bob", 2)
    own = await ask(locked, b"POST", b"/api/v1/join", session, {"link": invite["link"]})
    assert (own.status, "own invite" in own.body.decode()) == (400, True)
    one = f"/api/v1/invites/{invite['id']}".encode()
    assert (await ask(locked, b"DELETE", one, session)).json() == {"revoked": invite["id"]}
    assert (await ask(locked, b"DELETE", one, session)).error_code == "invite_not_found"
    assert (await ask(locked, b"GET", b"/api/v1/invites", session)).json() == {"invites": []}


async def test_a_node_without_a_network_says_so(alone: ServingNode) -> None:
    session = await signed_in(alone)
    for target, body in ((b"/api/v1/invites", {}), (b"/api/v1/join", {"link": "masa1-x"})):
        reply = await ask(alone, b"POST", target, session, body)
        assert (reply.status, reply.error_code, b"NETWORK=off" in reply.body) == (409, "not_done", True)


async def test_peers_are_changed_as_on_the_command_line(alone: ServingNode) -> None:
    session = await signed_in(alone)
    done = {verb: await ask(alone, b"POST", f"/api/v1/peers/{A}/{verb}".encode(), session) for verb in PEER_VERBS}
    assert {verb: reply.status for verb, reply in done.items()} == {
        "trust": 409,
        "untrust": 409,
        "block": 200,
        "unblock": 200,
        "forget": 409,
    }
    assert done["trust"].error_code == "not_done"
    assert b"masa-node peers" in done["trust"].body


async def test_what_is_no_invite_is_refused_in_words(locked: ServingNode) -> None:
    session = await signed_in(locked)
    for link in ("masa1-xxx", "https://example.org", "x" * 4_096):
        reply = await ask(locked, b"POST", b"/api/v1/join", session, {"link": link})
        assert (reply.status, reply.error_code) == (400, "invalid_request")


# ---- what is malformed ----


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (f"/api/v1/peers/{A}/explode", 404),
        (f"/api/v1/peers/{A}/", 404),
        (f"/api/v1/peers/{A}", 404),
        (f"/api/v1/peers/{A}/block/x", 404),
        (f"/api/v1/peers/{A}a/block", 400),
        (f"/api/v1/peers/{A[1:]}/block", 400),
        (f"/api/v1/peers/{A.upper()}/block", 400),
        ("/api/v1/peers/%2e%2e/block", 400),
        ("/api/v1/peers/bob/block", 400),
        (f"/api/v1/peers/{A}%0a/block", 400),
    ],
)
async def test_a_peer_is_named_by_its_whole_id_and_a_verb_that_there_is(
    alone: ServingNode, target: str, status: int
) -> None:
    session = await signed_in(alone)
    assert (await ask(alone, b"POST", target.encode(), session)).status == status


@pytest.mark.parametrize("invite_id", ["0" * 7, "0" * 9, "0" * 64, "zzzzzzzz", "0000000%", "%2e%2e", "0" * 5_000])
async def test_an_invite_is_named_by_its_whole_id(alone: ServingNode, invite_id: str) -> None:
    reply = await ask(alone, b"DELETE", f"/api/v1/invites/{invite_id}".encode(), await signed_in(alone))
    assert reply.status == 404
    assert len(reply.body) < 1_000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b"\xff",
        b"null",
        b'{"uses": 0}',
        b'{"uses": 10001}',
        b'{"lasts_s": 59}',
        b'{"lasts_s": 1e9}',
        b'{"note": "%b"}' % (b"x" * 201),
        b'{"unknown": 1}',
        b"[" * 30_000,
    ],
)
async def test_a_body_that_does_not_fit_is_refused_in_words(alone: ServingNode, body: bytes) -> None:
    session = await signed_in(alone)
    reply = await ask_once(alone.port, post(body, session, target=b"/api/v1/invites"))
    assert (reply.status, len(reply.body) < 1_000) == (400, True)


@pytest.mark.parametrize("target", [SESSION, b"/api/v1/invites", b"/api/v1/join"])
async def test_a_huge_body_is_not_read(alone: ServingNode, target: bytes) -> None:
    session = await signed_in(alone)
    body = json.dumps({"token": "x" * MAX_BODY_BYTES}).encode()
    reply = await ask_once(alone.port, post(body, session, target=target))
    assert (reply.status, f"{MAX_BODY_BYTES} bytes" in reply.body.decode()) == (413, True)


def test_the_longest_of_everything_fits_into_a_body() -> None:
    escaped = len("\\ud83d\\ude00")
    assert escaped * 4_096 > MAX_BODY_BYTES > 6 * 4_096, "links are ASCII"
    assert escaped * 200 < MAX_BODY_BYTES
    assert (InviteWanted().uses, LinkGiven("x").link) == (1, "x")


@pytest.mark.parametrize("endpoint", CHANGES, ids=lambda each: f"{each.method} {each.path}")
def test_a_row_is_found_by_its_path(endpoint: NodeEndpoint) -> None:
    assert endpoint.method in methods_at(target_of(endpoint).decode().replace("{request_id}", "r"))
    assert methods_at(endpoint.path + "/more/than/this") == []
