"""Covers: `actions`, `listing`."""

import asyncio
import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from masa_node.chat.errors import ConfigurationError
from masa_node.cli import main as cli
from masa_node.cli.peers import commands
from masa_node.network.links.invites import Invite, make_link, parse_bootnodes, parse_link, token_hash
from masa_node.network.links.peer_book import MembershipLevel, PeerRecord
from masa_node.network.store.commands import OwnerCommand, Verb
from masa_node.network.store.joins import keep_obstacle, keep_refusal
from masa_node.network.store.store import KeptInvite, Store
from masa_node.network.transport.interfaces import NodeId, PeerAddress, is_node_id
from masa_node.node.owner import folder
from masa_node.node.owner.peers import find_peer
from masa_node.telemetry import log
from tests import processes
from tests.cli import owned_node
from tests.fakes.running import settings_of

OWN = NodeId("0e" * 32)
ADA, ADAM, BOB = NodeId("ada0" * 16), NodeId("ada1" * 16), NodeId("b0b0" * 16)
ADDRESS = PeerAddress(OWN, ("192.168.1.5:4433", "[fd00::5]:4434"), "https://relay.example.org/")
RECORDS = [
    PeerRecord(ADA, MembershipLevel.LISTED, ("192.168.1.9:1",), name="ada", last_linked_at_unix_s=1_700_000_000),
    PeerRecord(ADAM, MembershipLevel.HEARD, name="adam"),
    PeerRecord(BOB, MembershipLevel.BLOCKED, name="bob"),
]
INVITE = Invite(ADA, ("192.168.1.9:1",), None, bytes(range(16)), int(time.time()) + 3600)


class Ran(msgspec.Struct, frozen=True):
    code: int
    out: str
    err: str


class Owner:
    """Gives commands as a person does, on the node of one MASA_DIR."""

    def __init__(self, masa_dir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.masa_dir = masa_dir
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: str) -> Ran:
        self._monkeypatch.setattr(sys, "argv", ["masa-node", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        out, err = self._capsys.readouterr()
        return Ran(caught.value.code if isinstance(caught.value.code, int) else 0, out, err)

    def json(self, *arguments: str) -> object:
        ran = self.run(*arguments, "--json")
        assert ran.code == 0, ran.err
        return json.loads(ran.out)

    def knows(self, *records: PeerRecord) -> None:
        async def save(store: Store) -> None:
            assert await store.save(records, [])

        self._with_store(save)

    def was_on_the_network(self, address: PeerAddress = ADDRESS) -> None:
        async def keep(store: Store) -> None:
            assert await store.set_value("node_id", OWN.encode())
            assert await store.set_value("address", msgspec.msgpack.encode(address))

        self._with_store(keep)

    def records(self) -> dict[NodeId, PeerRecord]:
        found: list[PeerRecord] = []

        async def load(store: Store) -> None:
            found.extend(await store.load())

        self._with_store(load)
        return {record.node_id: record for record in found}

    def invites(self) -> list[KeptInvite]:
        found: list[KeptInvite] = []

        async def load(store: Store) -> None:
            found.extend(await store.invites())

        self._with_store(load)
        return found

    def commands(self) -> list[OwnerCommand]:
        found: list[OwnerCommand] = []

        async def load(store: Store) -> None:
            found.extend(await store.pending_commands())

        self._with_store(load)
        return found

    def _with_store(self, use: object) -> None:
        async def opened() -> None:
            store = await Store.open(self.masa_dir)
            try:
                await use(store)  # type: ignore[operator]
            finally:
                await store.close()

        asyncio.run(opened())


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Owner:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASA_DIR", str(tmp_path / "masa"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(log, "configure", lambda *_: None)  # it would keep this test's stderr
    return Owner(tmp_path / "masa", monkeypatch, capsys)


@contextlib.contextmanager
def running(owner: Owner, answer_to_join: str = "Joined.") -> Generator[None]:
    """A stand-in of a node runs with the owner's MASA_DIR."""
    command = [sys.executable, owned_node.__file__, str(owner.masa_dir), answer_to_join]
    with processes.running(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"runs\n"
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def endpoint(status: int, body: object) -> Generator[tuple[str, list[str | None]]]:
    """An HTTP server that answers so; its URL, and the keys that came."""
    keys: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers["Authorization"])
            payload = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status if self.path == "/api/v1/peers" else 404)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            del format, args

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", keys
        finally:
            server.shutdown()


@pytest.fixture
def closed_port() -> int:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        return server.server_port


# ---- invites ----


def test_invite_prints_a_link_alone_on_stdout_and_what_to_do_with_it_beside(owner: Owner) -> None:
    owner.was_on_the_network()
    ran = owner.run("invite", "--uses", "3", "--expires", "7d", "--note", "for the lab")
    made = parse_link(ran.out, time.time())
    assert ran.code == 0
    assert ran.out.split() == [ran.out.strip()]
    assert made.address == ADDRESS
    assert 7 * 86_400 - 60 < made.expires_at_unix_s - time.time() <= 7 * 86_400
    assert "3 nodes may join until" in ran.err
    assert "masa-node join" in ran.err
    assert "is not running" in ran.err


def test_of_an_invite_only_the_hash_of_its_token_is_kept(owner: Owner) -> None:
    owner.was_on_the_network()
    token = parse_link(owner.run("invite", "--note", "for Eve").out, time.time()).token
    (kept,) = owner.invites()
    assert (kept.token_hash, kept.uses, kept.note) == (token_hash(token), 1, "for Eve")
    assert kept.expires_at_unix_s - kept.made_at_unix_s == 86_400
    assert not any(token in path.read_bytes() for path in owner.masa_dir.iterdir())


def test_each_invite_has_a_token_of_its_own(owner: Owner) -> None:
    owner.was_on_the_network()
    assert owner.run("invite").out != owner.run("invite").out


def test_a_node_that_was_never_on_the_network_makes_no_invite_and_says_what_to_do(owner: Owner) -> None:
    ran = owner.run("invite")
    assert (ran.code, ran.out) == (1, "")
    assert "masa-node up" in ran.err
    assert owner.invites() == []


def test_a_running_node_without_peers_goes_on_the_network_for_an_invite(owner: Owner) -> None:
    with running(owner):
        ran = owner.run("invite")
    assert parse_link(ran.out, time.time()).address == owned_node.ADDRESS
    assert "is not running" not in ran.err


def test_an_invite_that_the_running_node_would_refuse_is_not_printed(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its store in memory, for the disk was full when it started, or looks into another file."""
    monkeypatch.setattr(folder, "ANSWER_WITHIN_S", 0.2)
    owner.was_on_the_network()
    with running(owner, "silence"):
        ran = owner.run("invite")
    assert (ran.code, ran.out) == (1, "")
    assert "no invite was made" in ran.err
    assert owner.invites() == []


def test_a_running_node_that_stays_off_the_network_leaves_no_invite(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "ANSWER_WITHIN_S", 0.2)
    with running(owner, "silence"):
        ran = owner.run("invite")
    assert ran.code == 1
    assert "masa-node peers" in ran.err
    assert owner.invites() == []


@pytest.mark.parametrize(
    ("direct", "says"),
    [
        (("127.0.0.1:1",), "this machine only"),
        (("192.168.1.5:1",), "private addresses of itself only"),
        (("8.8.8.8:1", "10.0.0.1:1"), ""),
    ],
)
def test_invite_says_from_where_its_addresses_can_be_reached(owner: Owner, direct: tuple[str, ...], says: str) -> None:
    owner.was_on_the_network(PeerAddress(OWN, direct))
    told = owner.run("invite").err
    assert says in told
    assert ("only" in told) == bool(says)


@pytest.mark.parametrize("expires", ["", "24", "h", "-1h", "1.5h", "0h", "59s", "400d", "9999999h"])
def test_an_invite_that_lasts_no_real_time_is_refused(owner: Owner, expires: str) -> None:
    owner.was_on_the_network()
    ran = owner.run("invite", "--expires", expires)
    assert ran.code == 2
    assert "30m, 24h or 7d" in ran.err


@pytest.mark.parametrize("wrong", [("--uses", "0"), ("--uses", "10001"), ("--note", "x" * 201)])
def test_an_invite_beyond_the_bounds_is_refused(owner: Owner, wrong: tuple[str, str]) -> None:
    owner.was_on_the_network()
    assert owner.run("invite", *wrong).code == 2
    assert owner.invites() == []


def test_what_the_store_holds_is_checked_before_it_goes_into_a_link(owner: Owner) -> None:
    owner.was_on_the_network(PeerAddress(OWN, ("8.8.8.8:1", "garbage"), "file:///etc/passwd"))
    assert parse_link(owner.run("invite").out, time.time()).address == PeerAddress(OWN, ("8.8.8.8:1",))
    owner.was_on_the_network(PeerAddress(NodeId("x"), ("8.8.8.8:1",)))
    assert owner.run("invite").code == 1


def test_invites_are_listed_and_revoked_by_the_first_letters_of_their_id(owner: Owner) -> None:
    owner.was_on_the_network()
    made = owner.json("invite", "--note", "for [red]Eve")
    assert isinstance(made, dict)
    shown = owner.run("invites").out
    assert made["id"] in shown
    assert "0 of 1" in shown
    assert "for [red]Eve" in shown
    assert owner.run("invites", "--revoke", made["id"][:5]).code == 0
    assert owner.invites() == []
    assert "No invites" in owner.run("invites").out


@pytest.mark.parametrize("wrong", ["zzzz", "abc"])
def test_what_fits_no_invite_revokes_none(owner: Owner, wrong: str) -> None:
    owner.was_on_the_network()
    owner.run("invite")
    ran = owner.run("invites", "--revoke", wrong)
    assert ran.code == 2
    assert "masa-node invites" in ran.err
    assert len(owner.invites()) == 1


def test_a_listed_invite_does_not_tell_its_token(owner: Owner) -> None:
    owner.was_on_the_network()
    owner.run("invite")
    (listed,) = owner.json("invites")  # type: ignore[misc]
    assert set(listed) == {"id", "made_at_unix_s", "expires_at_unix_s", "uses", "used", "note"}


# ---- joining ----


def test_join_without_a_running_node_is_left_for_its_start(owner: Owner) -> None:
    link = make_link(INVITE)
    ran = owner.run("join", f" {link[:30]}\n{link[30:]} ")
    assert ran.code == 0
    assert "will join when it is started" in ran.out
    assert [(command.verb, parse_link(command.argument, time.time())) for command in owner.commands()] == [
        (Verb.JOIN, INVITE)
    ]


def test_join_tells_what_the_running_node_says(owner: Owner) -> None:
    with running(owner, "Joined: linked with ada0."):
        ran = owner.run("join", make_link(INVITE))
    assert (ran.code, ran.out) == (0, "Joined: linked with ada0.\n")


def test_a_refused_join_ends_with_1_and_the_reason(owner: Owner) -> None:
    with running(owner, "The invite was used up."):
        ran = owner.run("join", make_link(INVITE))
    assert (ran.code, ran.out) == (1, "")
    assert "used up" in ran.err


def test_a_join_that_takes_long_is_not_called_done(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "ANSWER_WITHIN_S", 0.2)
    with running(owner, "silence"):
        ran = owner.run("join", make_link(INVITE))
    assert ran.code == 1
    assert "keeps trying" in ran.err
    assert len(owner.commands()) == 1


def test_a_bad_link_is_refused_at_once(owner: Owner) -> None:
    ran = owner.run("join", make_link(INVITE)[:-3])
    assert ran.code == 2
    assert "cut" in ran.err
    assert owner.commands() == []


def test_a_nodes_own_invite_is_not_for_itself(owner: Owner) -> None:
    owner.was_on_the_network()
    ran = owner.run("join", owner.run("invite").out)
    assert ran.code == 2
    assert "another node" in ran.err


# ---- changing one peer ----


@pytest.mark.parametrize("peer", [ADA, ADA[:7], ADA.upper()[:7], "Ada"])
def test_without_a_running_node_a_peer_is_changed_in_the_store(owner: Owner, peer: str) -> None:
    owner.knows(*RECORDS)
    ran = owner.run("peers", "block", peer)
    assert ran.code == 0
    assert "is blocked" in ran.out
    assert owner.records()[ADA].membership is MembershipLevel.BLOCKED


def test_every_change_can_be_made(owner: Owner) -> None:
    owner.knows(*RECORDS)
    assert owner.run("peers", "trust", ADA[:10]).code == 0
    assert owner.records()[ADA].is_trusted
    assert owner.run("peers", "untrust", "ada").code == 0
    assert not owner.records()[ADA].is_trusted
    assert owner.run("peers", "unblock", "bob").code == 0
    assert BOB not in owner.records()
    assert owner.run("peers", "forget", "ada").code == 0
    assert ADA not in owner.records()


def test_a_running_node_is_asked_to_change_a_peer(owner: Owner) -> None:
    owner.knows(*RECORDS)
    with running(owner):
        ran = owner.run("peers", "block", "ada")
        assert owner.run("peers", "unblock", ADAM).code == 1
    assert ran.code == 0
    assert "is blocked" in ran.out
    assert owner.records()[ADA].membership is MembershipLevel.BLOCKED


def test_an_unknown_peer_may_be_blocked_by_its_whole_id(owner: Owner) -> None:
    assert owner.run("peers", "block", "c" * 64).code == 0
    assert owner.records()[NodeId("c" * 64)].membership is MembershipLevel.BLOCKED


def test_what_cannot_be_done_ends_with_1_and_says_why(owner: Owner) -> None:
    owner.knows(*RECORDS)
    ran = owner.run("peers", "unblock", "ada")
    assert (ran.code, ran.out) == (1, "")
    assert "is not blocked" in ran.err


def test_this_node_cannot_be_blocked(owner: Owner) -> None:
    owner.was_on_the_network()
    assert owner.run("peers", "block", OWN).code == 1
    assert owner.records() == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [("ada", "ada1ada1ad"), ("ada9", "No peer"), ("b0b", "No peer"), ("", "No peer"), ("zzzz", "No peer")],
)
def test_what_fits_not_exactly_one_peer_changes_none(owner: Owner, text: str, says: str) -> None:
    owner.knows(*RECORDS, PeerRecord(ADAM, MembershipLevel.HEARD, name="ada"))
    ran = owner.run("peers", "forget", text)
    assert ran.code == 2
    assert says in ran.err
    assert len(owner.records()) == 3


def test_what_is_ambiguous_names_those_that_fit() -> None:
    twins = [
        PeerRecord(ADA, MembershipLevel.HEARD),
        PeerRecord(NodeId(ADA[:60] + "ffff"), MembershipLevel.HEARD, name="\x1b[2J"),
    ]
    with pytest.raises(ConfigurationError, match=r"fits 2 peers: ada0ada0ad, ada0ada0ad \?\[2J\. Give more"):
        find_peer(ADA[:6], twins)


@pytest.mark.parametrize("text", ["ada", ADA[:4], ADA[:9]])
def test_a_peer_is_not_trusted_by_what_another_could_call_itself(text: str) -> None:
    assert find_peer(text, RECORDS[:1]) == ADA
    with pytest.raises(ConfigurationError, match="first 10 letters"):
        find_peer(text, RECORDS[:1], is_to_be_trusted=True)
    assert find_peer(ADA[:10], RECORDS[:1], is_to_be_trusted=True) == ADA


def test_a_store_that_cannot_be_written_is_no_success(owner: Owner) -> None:
    owner.masa_dir.mkdir()
    (owner.masa_dir / "network.sqlite3").mkdir()
    ran = owner.run("peers", "block", ADA)
    assert (ran.code, ran.out.count("is blocked")) == (1, 0)


# ---- listing ----

LINKED = {
    "id": ADA,
    "name": "\x1b[31mada [bold]x",
    "membership": "listed",
    "trusted": True,
    "connected": True,
    "route": "relay",
    "address": "https://relay.example.org/",
    "rtt_ms": 41.7,
    "models": ["a", "b", "c", "d", "e"],
    "version": "1",
    "running": 1,
    "slots": 4,
    "failures": 0,
    "error": None,
    "last_seen_at_unix_s": time.time() - 7200,
}
LOST = {"id": BOB, "membership": "invited", "connected": False, "route": None, "error": "refused\r\nx", "failures": 3}
HEARD = {"id": ADAM, "membership": "heard", "connected": False}
ON = {"node_id": OWN, "state": "on", "why": "", "addresses": ["8.8.8.8:1"], "peers": [HEARD, LOST, LINKED]}


def test_peers_are_listed_as_the_running_node_tells(owner: Owner) -> None:
    with endpoint(200, ON) as (url, _):
        shown = owner.run("peers", "--url", url).out
    ada = next(line for line in shown.splitlines() if ADA[:10] in line)
    for part in ("listed, trusted", "relay, 42 ms", "a, b, c and 2 more", "1/4", "2 h ago"):
        assert part in ada
    assert "not reached: refused??x" in shown
    assert shown.index(ADA[:10]) < shown.index(BOB[:10])


def test_why_a_peer_is_not_reached_is_told_whole_though_the_table_goes_into_a_pipe(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS")
    why = "it refused this node: it is not a member of this closed network. It needs an invite, or to be listed."
    with endpoint(200, {**ON, "peers": [{**LOST, "error": why}]}) as (url, _):
        lines = owner.run("peers", "--url", url).out.splitlines()
    assert lines[-1] == f"{BOB[:10]} is not reached: {why}"


def test_by_whose_word_a_peer_is_in_is_shown_of_the_running_node_and_of_one_that_does_not_run(owner: Owner) -> None:
    vouched = {**LINKED, "membership": "vouched", "trusted": False, "vouched_by": BOB}
    with endpoint(200, {**ON, "peers": [vouched]}) as (url, _):
        assert f"vouched by {BOB[:10]}" in owner.run("peers", "--url", url).out
    owner.knows(PeerRecord(ADA, MembershipLevel.VOUCHED, vouched_by=BOB))
    assert f"vouched by {BOB[:10]}" in owner.run("peers").out
    shown = owner.json("peers")
    assert [row["vouched_by"] for row in shown["peers"] if row["id"] == ADA] == [BOB]  # type: ignore[index]


def test_a_blocked_peer_is_not_called_unreached(owner: Owner) -> None:
    with endpoint(200, {**ON, "peers": [{**LOST, "membership": "blocked"}]}) as (url, _):
        assert "not reached" not in owner.run("peers", "--url", url).out


def test_peers_that_are_only_heard_of_are_counted(owner: Owner) -> None:
    with endpoint(200, ON) as (url, _):
        assert "1 more are only heard of" in owner.run("peers", "--url", url).out
        assert ADAM[:10] in owner.run("peers", "--url", url, "--all").out


def test_what_a_peer_calls_itself_does_nothing_to_the_terminal(owner: Owner) -> None:
    with endpoint(200, ON) as (url, _):
        shown = owner.run("peers", "--url", url).out
    assert "?[31mada [bold]x" in shown
    assert "\x1b" not in shown


def test_the_nodes_key_goes_along(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "first,second")
    with endpoint(200, ON) as (url, keys):
        owner.run("peers", "--url", url)
    assert keys == ["Bearer first"]


def test_a_network_that_is_off_says_why(owner: Owner) -> None:
    with endpoint(200, {"node_id": None, "state": "off", "why": "NETWORK=off", "addresses": [], "peers": []}) as (
        url,
        _,
    ):
        assert "Not connected: NETWORK=off" in owner.run("peers", "--url", url).out


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, {}, "API_KEY"),
        (403, {}, "--admin"),
        (404, {}, "not a Masa node"),
        (500, {}, "answered 500"),
        (200, b"<html>", "not a list of peers"),
        (200, [1], "not a list of peers"),
        (200, {"peers": [{"id": 1}]}, "not a list of peers"),
    ],
)
def test_an_answer_that_lists_no_peers_is_an_error_that_says_what_to_do(
    owner: Owner, status: int, body: object, says: str
) -> None:
    with endpoint(status, body) as (url, _):
        ran = owner.run("peers", "--url", url)
    assert (ran.code, ran.out) == (1, "")
    assert says in ran.err
    assert url in ran.err


STAKE = {
    "verdict": "staked",
    "reason": "its owner's 1000 MASA at block 32 cover 1 node",
    "owner": "0x" + "11" * 20,
    "stake_wei": str(10**21),
    "minimum_wei": str(10**21),
    "nodes": 1,
    "block": 32,
    "age_s": 130,
}


def test_a_peers_stake_is_told_with_amount_block_age_and_reason(owner: Owner) -> None:
    listed = {"id": ADA, "membership": "listed", "connected": True, "stake": STAKE}
    body = {"state": "on", "staking": "on - providers: require, callers: off (here, chain 1)", "peers": [listed]}
    with endpoint(200, body) as (url, _):
        shown = owner.run("peers", "--url", url).out
        told = json.loads(owner.run("peers", "--url", url, "--json").out)
    assert "staking: on - providers: require" in shown
    assert f"{ADA[:10]} is staked: its owner's 1000 MASA at block 32 cover 1 node; read 2 min ago" in shown
    assert told["peers"][0]["stake"] == STAKE
    assert told["staking"] == body["staking"]


def test_the_age_of_a_reading_is_told_in_seconds_while_it_is_young(owner: Owner) -> None:
    reason = "its owner's 1000 MASA at block 32 cover 1 node; the chain cannot be read now: it said no"
    listed = {
        "id": ADA,
        "membership": "listed",
        "connected": True,
        "stake": {**STAKE, "age_s": 14, "reason": f"{reason}."},
    }
    with endpoint(200, {"state": "on", "staking": "on", "peers": [listed]}) as (url, _):
        assert f"{ADA[:10]} is staked: {reason}; read 14 s ago\n" in owner.run("peers", "--url", url).out


@pytest.mark.parametrize(
    ("network", "policy", "said"),
    [
        ("", "", "off - stakes are not checked"),
        ("mine", "", "not checked now: no node is on the network with this MASA_DIR"),
        ("mine", "off", "off - stakes are not checked"),
    ],
)
def test_without_a_node_it_is_said_that_stakes_are_not_checked(
    owner: Owner, monkeypatch: pytest.MonkeyPatch, network: str, policy: str, said: str
) -> None:
    monkeypatch.setenv("STAKE_NETWORK", network)
    monkeypatch.setenv("STAKE_PROVIDERS", policy)
    monkeypatch.setenv("STAKE_CALLERS", policy)
    assert f"staking: {said}\n" in owner.run("peers").out


def test_without_a_node_what_is_remembered_is_shown_and_said_to_be_so(owner: Owner) -> None:
    owner.knows(*RECORDS)
    ran = owner.run("peers")
    assert ran.code == 0
    assert "this is what it remembers" in ran.out
    assert ADA[:10] in ran.out
    assert "blocked" in ran.out
    assert ADAM[:10] not in ran.out


def test_a_named_node_that_does_not_answer_is_an_error(owner: Owner, closed_port: int) -> None:
    ran = owner.run("peers", "--url", f"http://127.0.0.1:{closed_port}")
    assert (ran.code, ran.out) == (1, "")
    assert f"http://127.0.0.1:{closed_port}: no node listens there" in ran.err
    assert "masa-node up" in ran.err
    assert "LLM server" not in ran.err


def test_a_running_node_at_another_address_is_told_from_one_that_is_off(
    owner: Owner, monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("PORT", str(closed_port))
    owner.knows(*RECORDS)
    with running(owner):
        ran = owner.run("peers")
    assert "Which peers are connected is not known: the node runs, but does not answer" in ran.out
    assert "--url" in ran.out
    assert ADA[:10] in ran.out


def test_another_node_at_the_usual_port_is_not_taken_for_this_one(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner.was_on_the_network()
    with running(owner), endpoint(200, {**ON, "node_id": BOB}) as (url, _):
        monkeypatch.setenv("PORT", url.rpartition(":")[2])
        ran = owner.run("peers")
    assert ran.code == 1
    assert BOB[:10] in ran.err


def test_a_node_without_peers_says_how_to_get_some(owner: Owner) -> None:
    shown = owner.run("peers").out
    assert "masa-node invite" in shown
    assert "masa-node join" in shown


# ---- id, and JSON everywhere ----


def test_id_prints_the_id_and_an_entry_that_bootnodes_takes(owner: Owner) -> None:
    before = owner.run("id")
    node_id = before.out.splitlines()[0].split()[1]
    assert is_node_id(node_id)
    assert "not known yet" in before.err
    owner.was_on_the_network(PeerAddress(NodeId(node_id), ADDRESS.direct))
    lines = owner.run("id").out.splitlines()
    assert lines[0].split() == ["id:", node_id]
    assert parse_bootnodes(lines[1].split()[1]) == [PeerAddress(NodeId(node_id), ADDRESS.direct)]


def test_the_id_is_that_of_the_key_though_the_store_remembers_another(owner: Owner) -> None:
    owner.was_on_the_network()
    told = owner.json("id")
    assert isinstance(told, dict)
    assert told["node_id"] != OWN
    assert told["direct"] == []


def test_every_command_writes_json_for_programs(owner: Owner) -> None:
    owner.was_on_the_network()
    owner.knows(*RECORDS)
    made = owner.json("invite")
    assert isinstance(made, dict)
    assert set(made) == {"link", "id", "address", "expires_at_unix_s", "uses", "note", "is_running", "missed_relay"}
    assert owner.json("invites", "--revoke", made["id"]) == {"revoked": made["id"]}
    assert owner.json("invites") == []
    shown = owner.json("id")
    assert isinstance(shown, dict)
    assert set(shown) == {"node_id", "direct", "relay_url", "bootnodes_entry"}
    told = owner.json("join", make_link(INVITE))
    assert isinstance(told, dict)
    assert told["state"] == "pending"
    assert owner.json("peers", "block", ADAM)["state"] == "done"  # type: ignore[index]
    listed = owner.json("peers")
    assert isinstance(listed, dict)
    assert (listed["state"], listed["node_id"], len(listed["peers"])) == ("off", OWN, 3)


# ---- the way in ----


def test_an_invite_tells_by_which_ways_others_can_come(owner: Owner) -> None:
    owner.was_on_the_network(PeerAddress(OWN, ("81.2.69.7:4433", "192.168.1.5:4433"), "https://relay.example.org/"))
    told = owner.run("invite").err
    assert "directly at 81.2.69.7:4433 or through the relay https://relay.example.org/" in told


def test_an_invite_that_leads_nowhere_from_elsewhere_says_what_to_do(owner: Owner) -> None:
    owner.was_on_the_network(PeerAddress(OWN, ("192.168.1.5:4433",)))
    told = owner.run("invite").err
    assert "--relay public" in told
    assert "PEER_ADDRESS" in told


def test_a_relay_that_is_chosen_with_the_invite_is_in_its_link(owner: Owner) -> None:
    with running(owner):
        made = parse_link(owner.run("invite", "--relay", "public").out, time.time())
    assert made.relay_url == owned_node.RELAY


@pytest.mark.parametrize("choice", ["relay.example.org", "https://relay.example.org/path", "x"])
def test_what_is_no_relay_makes_no_invite(owner: Owner, choice: str) -> None:
    owner.was_on_the_network()
    ran = owner.run("invite", "--relay", choice)
    assert (ran.code, ran.out) == (2, "")
    assert "--relay" in ran.err
    assert not owner.invites()


def test_the_relay_of_the_settings_is_not_overruled(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELAY_URL", "https://relay.example.org")
    ran = owner.run("invite", "--relay", "public")
    assert ran.code == 2
    assert "RELAY_URL is set" in ran.err


@pytest.mark.parametrize(("answer", "kept"), [(True, "https://relay.example.org/"), (False, None), (None, None)])
def test_the_owner_is_asked_once_about_relays_where_nobody_could_come(
    owner: Owner, monkeypatch: pytest.MonkeyPatch, *, answer: bool | None, kept: str | None
) -> None:
    questions: list[None] = []

    def asked() -> bool | None:
        questions.append(None)
        return answer

    monkeypatch.setattr(commands, "_ask_about_relays", asked)
    with running(owner):
        links = [owner.run("invite").out for _ in range(2)]
    assert [parse_link(link, time.time()).relay_url for link in links] == [kept, kept]
    assert len(questions) == (2 if answer is None else 1)


def test_a_join_that_was_refused_while_nobody_looked_is_shown_by_the_next_command(owner: Owner) -> None:
    async def refused(store: Store) -> None:
        await keep_refusal(store, "the invite is used up.")

    owner._with_store(refused)
    assert "The last join was refused: the invite is used up." in owner.run("peers").out


def test_a_join_that_was_refused_before_its_owners_eyes_is_not_told_twice(owner: Owner) -> None:
    with running(owner, "it is blocked."):
        assert "it is blocked." in owner.run("join", make_link(INVITE)).err
    assert "refused" not in owner.run("peers").out


def test_a_join_that_takes_long_says_what_is_in_the_way(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    async def in_the_way(store: Store) -> None:
        await keep_obstacle(store, "no connection within 5 s.")

    owner._with_store(in_the_way)
    monkeypatch.setattr(folder, "ANSWER_WITHIN_S", 0.2)
    with running(owner, "silence"):
        ran = owner.run("join", make_link(INVITE))
    assert ran.code == 1
    assert "Not linked yet: no connection within 5 s. It keeps trying" in ran.err


def test_a_relay_that_no_node_took_up_keeps_no_other_command_from_being_carried_out(owner: Owner) -> None:
    owner.knows(*RECORDS)

    async def left_behind(store: Store) -> None:
        await store.add_command(Verb.RELAY, "public", time.time())

    owner._with_store(left_behind)
    assert owner.run("peers", "block", "ada0").code == 0
    assert [command.verb for command in owner.commands()] == [Verb.RELAY]


def test_troubles_of_a_node_that_says_not_where_it_serves_are_not_told(owner: Owner) -> None:
    assert owner.run("id").code == 0
    assert commands._troubles(settings_of(MASA_DIR=str(owner.masa_dir)), "") == []
