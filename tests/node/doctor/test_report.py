"""Faults planted one at a time into the facts of a healthy node: each is named by its own line, and by no other.

Covers: `own_checks`, `network_checks`, `findings`, `facts`, `report`.
"""

from typing import NamedTuple

import msgspec
import pytest
from msgspec.structs import replace

from masa_node.chat.errors import (
    ConnectionRefused,
    DnsFailed,
    ErrorAnswer,
    FirstPieceTimeout,
    PeerUnreachable,
    ProxyFailed,
    TlsFailed,
    Unreachable,
)
from masa_node.network.clocks import APART
from masa_node.network.links.control import RefusalCode
from masa_node.network.transport.interfaces import NodeId, PeerAddress
from masa_node.network.transport.unreached import PeerHostUnknown, PeerKeyWrong, PeerSpeaksOtherwise
from masa_node.node.doctor.facts import (
    ChainFacts,
    ClockFacts,
    Facts,
    FolderFacts,
    HttpFacts,
    LlmFacts,
    NetworkFacts,
    PeerFacts,
    RelayFacts,
    ServerFacts,
    SettingsFacts,
    WayInFacts,
)
from masa_node.node.doctor.findings import Level, Report
from masa_node.node.doctor.report import examine, in_words, troubles
from masa_node.node.settings.unknown_names import UnknownName

OWN, PEER = NodeId("0e" * 32), NodeId("be" * 32)
PRIVATE, OUTER = "192.168.1.5:4433", "198.51.100.7:4433".replace("198.51.100", "81.2.69")
SERVER = ServerFacts("llm", "llm (http://localhost:11434)", models=2, token_from="llama3.2")
RELAY = RelayFacts("https://relay.example.org", status=200, is_home=True)
LINKED = PeerFacts(PEER, "bob", "invited", is_linked=True, route="direct")
ABSENT = replace(LINKED, is_linked=False, route="", failures=3, next_try_s=4.0, last_linked_s_ago=7200.0)


def way_in(*addresses: str, bound: str = "0.0.0.0:4433", **more: object) -> WayInFacts:
    own = frozenset({PRIVATE, "81.2.69.9:4433"} & set(addresses))
    facts = WayInFacts((bound,), PeerAddress(OWN, addresses, None), own)
    return replace(facts, **more)


HEALTHY = Facts(
    "1.2.3",
    SettingsFacts(),
    FolderFacts("/m", mode=0o700, free_bytes=1 << 40),
    HttpFacts("http://127.0.0.1:8080", is_running=True, answers=True),
    LlmFacts((SERVER,)),
    ClockFacts((("the relay", 0.4),)),
    RELAY,
    NetworkFacts("on", way_in=way_in(OUTER, PRIVATE), peers=(LINKED,)),
    ChainFacts(),
)


class Planted(NamedTuple):
    """A fault: where it is, and the line that has to name it."""

    name: str
    facts: Facts
    check: str
    level: Level
    says: str
    then: str


def with_server(**changes: object) -> Facts:
    return replace(HEALTHY, llm=LlmFacts((replace(SERVER, token_from="", **changes),)))


def with_way_in(facts: WayInFacts, relay: RelayFacts = RELAY) -> Facts:
    return replace(HEALTHY, relay=relay, network=replace(HEALTHY.network, way_in=facts))


def with_relay(**changes: object) -> Facts:
    return replace(HEALTHY, relay=replace(RELAY, **changes))


def with_peer(code: str, why: str, **changes: object) -> Facts:
    """Beside one that is linked: alone it would also be the network that is at fault."""
    absent = replace(ABSENT, id=NodeId("da" * 32), code=code, why=why, **changes)
    return replace(HEALTHY, network=replace(HEALTHY.network, peers=(LINKED, absent)))


FAIL, WARN = Level.FAIL, Level.WARN
FOLDER, HTTP = HEALTHY.folder, HEALTHY.http
NO_RELAY = RelayFacts()
PLANTED = [
    Planted(
        "a value",
        replace(HEALTHY, settings=SettingsFacts(("PORT: '99999' is not valid.",))),
        *("settings", FAIL, "'99999'", "Correct it"),
    ),
    Planted(
        "a misspelt name",
        replace(HEALTHY, settings=SettingsFacts(unknown=(UnknownName("RELAY_ULR", ".env", "RELAY_URL"),))),
        *("settings", WARN, "RELAY_ULR in .env", "Rename it to RELAY_URL"),
    ),
    Planted(
        "folder",
        replace(HEALTHY, folder=replace(FOLDER, error="read-only file system")),
        *("folder", FAIL, "read-only", "mkdir"),
    ),
    Planted("rights", replace(HEALTHY, folder=replace(FOLDER, mode=0o777)), "folder", FAIL, "0777", "chmod 700 /m"),
    Planted(
        "key",
        replace(HEALTHY, folder=replace(FOLDER, key_error="Others may read /m/node.key.")),
        *("key", FAIL, "Others may read", "node.key"),
    ),
    Planted("disk full", replace(HEALTHY, folder=replace(FOLDER, free_bytes=0)), "disk", FAIL, "0 MB", "df -h /m"),
    Planted("disk low", replace(HEALTHY, folder=replace(FOLDER, free_bytes=9 << 20)), "disk", WARN, "9 MB", "df"),
    Planted(
        "port taken",
        replace(HEALTHY, http=HttpFacts("u", error="Cannot listen on 127.0.0.1 port 8080: in use.")),
        *("http", FAIL, "Cannot listen", "PORT"),
    ),
    Planted(
        "silent",
        replace(HEALTHY, http=replace(HTTP, answers=False, error="no answer.")),
        *("http", FAIL, "does not answer", "log"),
    ),
    Planted("not running", replace(HEALTHY, http=HttpFacts("u")), "http", WARN, "no node runs", "masa-node up"),
    Planted("no LLM", replace(HEALTHY, llm=LlmFacts()), "llm", WARN, "no LLM server was found", "LLM_CHAT_URL"),
    Planted(
        "no LLM looked for",
        replace(HEALTHY, llm=LlmFacts(finds_local=False)),
        *("llm", WARN, "FIND_LOCAL=0", "LLM_CHAT_URL"),
    ),
    Planted(
        "no Ollama at OLLAMA_HOST",
        replace(HEALTHY, llm=LlmFacts(ollama="http://gpu-box:11434")),
        *("llm", WARN, "http://gpu-box:11434 (OLLAMA_HOST)", "correct OLLAMA_HOST"),
    ),
    Planted(
        "embedded LLM down",
        with_server(code="unreachable", why="it ended with exit code 1 (ImportError: libgomp.so.1)", is_embedded=True),
        *("llm llm", FAIL, "libgomp.so.1", "set LLM to another model"),
    ),
    Planted(
        "LLM off",
        with_server(code=ConnectionRefused.code, why="nothing listens."),
        *("llm llm", FAIL, "cannot be asked", "Start that"),
    ),
    Planted(
        "LLM's host",
        with_server(code=DnsFailed.code, why="no such name."),
        "llm llm",
        FAIL,
        "no such name",
        "host name",
    ),
    Planted(
        "LLM's TLS",
        with_server(code=TlsFailed.code, why="not trusted."),
        "llm llm",
        FAIL,
        "not trusted",
        "SSL_CERT_FILE",
    ),
    Planted("LLM's proxy", with_server(code=ProxyFailed.code, why="it says 407."), "llm llm", FAIL, "407", "NO_PROXY"),
    Planted(
        "LLM's machine", with_server(code=Unreachable.code, why="no route."), "llm llm", FAIL, "no route", "machine on"
    ),
    Planted("no models", with_server(models=0), "llm llm", FAIL, "serves no model", "ollama pull"),
    Planted("LLM's key", with_server(note="it refuses the key"), "llm llm", WARN, "refuses the key", "key right"),
    Planted(
        "slow",
        with_server(token_code=FirstPieceTimeout.code, token_why="no token came."),
        "llm llm",
        WARN,
        "no token",
        "loading",
    ),
    Planted(
        "broken model",
        with_server(token_code=ErrorAnswer.code, token_why="CUDA error."),
        *("llm llm", FAIL, "CUDA error", "own log"),
    ),
    Planted(
        "clock ahead", replace(HEALTHY, clock=ClockFacts((("the relay", 601.0),))), "clock", FAIL, "601 s ahead", "ntp"
    ),
    Planted(
        "clock behind", replace(HEALTHY, clock=ClockFacts((("bob", -90.0),))), "clock", WARN, "90 s behind bob", "ntp"
    ),
    Planted("relay's host", with_relay(code=DnsFailed.code, why="no name."), "relay", FAIL, "no name", "host name"),
    Planted(
        "relay off", with_relay(code=ConnectionRefused.code, why="refused."), "relay", FAIL, "refused", "Start the"
    ),
    Planted("relay's TLS", with_relay(code=TlsFailed.code, why="private CA."), "relay", FAIL, "private CA", "Encrypt"),
    Planted(
        "relay's machine", with_relay(code=Unreachable.code, why="timed out."), "relay", FAIL, "timed", "machine on"
    ),
    Planted("relay's token", with_relay(status=401), "relay", FAIL, "refuses this node", "RELAY_TOKEN"),
    Planted("no relay there", with_relay(status=404), "relay", FAIL, "no iroh relay", "Correct RELAY_URL"),
    Planted("sign-in page", with_relay(is_page=True), "relay", FAIL, "200 with a web page", "sign in to this network"),
    Planted("private authority", with_relay(is_home=False), "relay", FAIL, "not connected", "public authority"),
    Planted("plain relay", with_relay(url="http://relay.example.org"), "relay", WARN, "plain http", "https://"),
    Planted(
        "UDP port taken",
        with_way_in(WayInFacts(bind_error="UDP port 4433 is taken.")),
        *("udp", FAIL, "4433 is taken", "PEER_PORT"),
    ),
    Planted("UDP blocked", with_way_in(way_in(PRIVATE)), "udp", WARN, "a firewall blocks UDP", "7842"),
    Planted(
        "behind NAT, no relay",
        with_way_in(way_in(PRIVATE), NO_RELAY),
        *("address", FAIL, "in this network", "--relay public"),
    ),
    Planted(
        "private PEER_ADDRESS",
        with_way_in(way_in(PRIVATE, external=PRIVATE), NO_RELAY),
        *("address", WARN, f"{PRIVATE} (PEER_ADDRESS), which leads here only inside", "router's public address"),
    ),
    Planted(
        "loopback only",
        with_way_in(way_in("127.0.0.1:4433"), NO_RELAY),
        *("address", FAIL, "on this machine", "--relay public"),
    ),
    Planted(
        "NAT seen, no relay",
        with_way_in(way_in(OUTER, PRIVATE), NO_RELAY),
        *("address", FAIL, "keeps the port", "--relay public"),
    ),
    Planted(
        "symmetric NAT",
        with_way_in(way_in("81.2.69.7:1", "81.2.69.7:2", PRIVATE)),
        *("address", WARN, "a new port for each peer", "Forward a UDP port"),
    ),
    Planted(
        "carrier's NAT",
        with_way_in(way_in("100.64.3.2:4433", PRIVATE), NO_RELAY),
        *("address", WARN, "the carrier's", "--relay public"),
    ),
    Planted(
        "chain",
        replace(HEALTHY, chain=ChainFacts("require", is_off=False, failure="RPC_URL answers 429.", failed_s_ago=5)),
        *("chain", FAIL, "429", "stake status"),
    ),
    Planted(
        "network off",
        replace(HEALTHY, network=NetworkFacts("off", "NETWORK=off")),
        *("network", WARN, "NETWORK=off", "masa-node invite"),
    ),
    Planted(
        "join refused",
        replace(HEALTHY, network=replace(HEALTHY.network, refused_join="the invite is used up.")),
        *("join", FAIL, "used up", "new link"),
    ),
    Planted(
        "peer off", with_peer(PeerUnreachable.code, "no connection."), "peer dadadadada", WARN, "2 h ago", "UDP port"
    ),
    Planted(
        "next try", with_peer(PeerUnreachable.code, "no way."), "peer dadadadada", WARN, "next try in 4 s", "open?"
    ),
    Planted(
        "peer's clock", with_peer(APART, "not in force."), "peer dadadadada", WARN, "not in force", "Set the clock"
    ),
    Planted(
        "old peer", with_peer(RefusalCode.VERSION, "version 3."), "peer dadadadada", WARN, "version 3", "Update the"
    ),
    Planted(
        "wrong key", with_peer(PeerKeyWrong.code, "another key."), "peer dadadadada", WARN, "another key", "new invite"
    ),
    Planted(
        "peer's host", with_peer(PeerHostUnknown.code, "no name."), "peer dadadadada", WARN, "no name", "BOOTNODES"
    ),
    Planted(
        "another program",
        with_peer(PeerSpeaksOtherwise.code, "no masa."),
        "peer dadadadada",
        WARN,
        "no masa",
        "another",
    ),
    Planted(
        "not a member", with_peer(RefusalCode.NOT_A_MEMBER, "closed."), "peer dadadadada", WARN, "closed", "invite"
    ),
    Planted("spent invite", with_peer(RefusalCode.BAD_INVITE, "used."), "peer dadadadada", WARN, "used", "new invite"),
    Planted("blocked there", with_peer(RefusalCode.BLOCKED, "blocked."), "peer dadadadada", WARN, "blocked", "unblock"),
    Planted(
        "never linked", with_peer("", "", last_linked_s_ago=None), "peer dadadadada", WARN, "never linked", "open?"
    ),
]


@pytest.mark.parametrize("planted", PLANTED, ids=lambda planted: planted.name)
def test_a_planted_fault_is_named_by_its_own_line_and_by_no_other(planted: Planted) -> None:
    found = troubles(examine(planted.facts))

    assert [(line.check, line.level) for line in found] == [(planted.check, planted.level)], found
    assert planted.says in found[0].says
    assert planted.then in found[0].next


def test_no_two_faults_read_the_same() -> None:
    lines = [troubles(examine(planted.facts))[0] for planted in PLANTED]

    assert len({line.says for line in lines}) == len(lines) >= 24


def test_a_healthy_node_has_no_trouble() -> None:
    assert troubles(examine(HEALTHY)) == []
    assert examine(HEALTHY).ok


def test_the_worst_comes_first_and_makes_the_report_a_failure() -> None:
    facts = replace(HEALTHY, llm=LlmFacts(), settings=SettingsFacts(("PORT",)))

    assert [line.level for line in troubles(examine(facts))] == [FAIL, WARN]
    assert not examine(facts).ok


def test_a_warning_alone_is_no_failure() -> None:
    assert examine(replace(HEALTHY, llm=LlmFacts())).ok


def test_one_clock_that_is_wrong_does_not_speak_against_this_machine() -> None:
    clocks = ClockFacts((("ada", 900.0), ("bob", 0.0), ("the relay", 1.0)))

    assert troubles(examine(replace(HEALTHY, clock=clocks))) == []


@pytest.mark.parametrize(
    "ahead_of", [(("ada", -600.0), ("the relay", 1.0)), (("ada", 600.0), ("the relay", 1.0))], ids=["behind", "ahead"]
)
def test_of_two_other_clocks_the_one_that_is_nearer_is_believed(ahead_of: tuple[tuple[str, float], ...]) -> None:
    assert troubles(examine(replace(HEALTHY, clock=ClockFacts(ahead_of)))) == []


def test_where_one_other_clock_is_known_either_may_be_wrong() -> None:
    (line,) = troubles(examine(replace(HEALTHY, clock=ClockFacts((("peer be", 600.0),)))))

    assert "here or there" in line.next


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        (way_in("81.2.69.9:4433", PRIVATE), "a public address of its own: 81.2.69.9:4433"),
        (way_in(OUTER, PRIVATE, is_mapped=True), f"the router forwards {OUTER}"),
        (way_in(OUTER, PRIVATE, external=OUTER), f"others are told {OUTER} (PEER_ADDRESS)"),
    ],
)
def test_a_node_with_a_way_in_needs_no_relay(facts: WayInFacts, says: str) -> None:
    report = examine(with_way_in(facts, NO_RELAY))

    assert troubles(report) == []
    assert any(says in line.says for line in report.findings if line.check == "address")


def test_a_port_that_the_router_changed_is_said() -> None:
    report = examine(with_way_in(way_in("81.2.69.7:9", PRIVATE)))

    assert any("changes the port" in line.says for line in report.findings)


def test_a_node_that_knows_nobody_has_no_trouble() -> None:
    assert troubles(examine(replace(HEALTHY, network=replace(HEALTHY.network, peers=())))) == []


def test_a_node_that_is_not_linked_with_anybody_says_so_before_the_peers() -> None:
    absent = replace(ABSENT, code=PeerUnreachable.code, why="no connection.")
    report = examine(replace(HEALTHY, network=replace(HEALTHY.network, peers=(absent,))))

    assert [line.check for line in troubles(report)] == ["network", "peer bebebebebe"]


def test_an_old_failure_to_read_the_chain_is_over() -> None:
    chain = ChainFacts("require", is_off=False, failure="it was away.", failed_s_ago=100_000)

    assert troubles(examine(replace(HEALTHY, chain=chain))) == []


def test_a_hosted_server_is_not_made_to_answer_and_says_why() -> None:
    report = examine(with_server(is_hosted=True))

    assert troubles(report) == []
    assert any("costs money" in line.says for line in report.findings)


def test_a_line_fits_a_terminal_and_says_what_to_do() -> None:
    line = troubles(examine(with_relay(status=401)))[0]

    assert in_words(line).startswith("fail  relay: relay.example.org refuses this node (401). -> Set RELAY_TOKEN")


def test_the_report_is_json_for_programs() -> None:
    written = msgspec.json.encode(examine(HEALTHY))

    assert msgspec.json.decode(written, type=Report) == examine(HEALTHY)
