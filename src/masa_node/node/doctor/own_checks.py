"""What the doctor says of the node itself: settings, folder, HTTP port, LLM servers, clock, chain. Pure."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from masa_node.chat.errors import (
    ConnectionRefused,
    DnsFailed,
    FirstPieceTimeout,
    ProxyFailed,
    TlsFailed,
    Unreachable,
)
from masa_node.network.transport.interfaces import MAX_CLOCK_SKEW_S
from masa_node.node.doctor.facts import (
    ChainFacts,
    ClockFacts,
    FolderFacts,
    HttpFacts,
    LlmFacts,
    ServerFacts,
    SettingsFacts,
)
from masa_node.node.doctor.findings import Finding, fail, ok, warn

LOW_DISK_BYTES = 200 * 1024 * 1024  # the database and its log stay far below; what fills a disk seldom stops there
FULL_DISK_BYTES = 8 * 1024 * 1024  # SQLite's log grows to a few MB before it is taken in
NOTICED_SKEW_S = 30.0  # a clock that is kept by NTP is right within a second, and a reply takes a few
LATE_READING_S = 3600  # a failure to read the chain that is older than this is over
_OTHERS_WRITE = 0o022
_REFUSED_KEY = frozenset({401, 403})

_NEXT = {
    ConnectionRefused.code: "Start that server, or correct its URL: `masa-node settings` shows it.",
    DnsFailed.code: "Correct the host name in its URL: `masa-node settings` shows it.",
    TlsFailed.code: "Correct https/http in its URL, or name its certificate in SSL_CERT_FILE.",
    ProxyFailed.code: "Correct the proxy's URL, or name this host in NO_PROXY.",
    Unreachable.code: "Is that machine on, and on this network? Correct the URL if not.",
}
_SET_CLOCK = "sudo timedatectl set-ntp true"
_ONE_WITNESS = ", here or there: no third clock tells which of the two is wrong."
_NEXT_OF_EMBEDDED = "Mend what it says, or set LLM to another model or to none; the node keeps trying."
_NEXT_OTHERWISE = "Ask it yourself with curl: is it an LLM server, and is its URL right?"


def settings_findings(facts: SettingsFacts) -> Iterator[Finding]:
    """Values that cannot be, and names that mean nothing."""
    for error in facts.errors:
        yield fail("settings", error, "Correct it, then start the node: `masa-node up`.")
    for unknown in facts.unknown:
        meant = f"Rename it to {unknown.nearest}" if unknown.nearest else "Take it out, or see `masa-node settings`"
        yield warn("settings", f"{unknown.name} in {unknown.location} is no setting, so it does nothing.", f"{meant}.")
    if not facts.errors and not facts.unknown:
        yield ok("settings", "every value is valid, and every name is a setting's.")


def folder_findings(facts: FolderFacts) -> Iterator[Finding]:
    """MASA_DIR: rights, the key, the disk."""
    if facts.error:
        yield fail("folder", f"MASA_DIR {facts.path} cannot be used: {facts.error}", _own_folder(facts.path))
        return
    if facts.key_error:
        yield fail("key", facts.key_error, f"See {facts.path}/node.key.")
    if facts.mode is not None and facts.mode & _OTHERS_WRITE:
        yield fail(
            "folder",
            f"others may write into MASA_DIR {facts.path} (mode {facts.mode:04o}), and so command this node.",
            f"chmod 700 {facts.path}",
        )
    elif not facts.key_error:
        yield ok("folder", f"MASA_DIR {facts.path} can be written, by its owner only.")
    yield from _disk(facts)


def _disk(facts: FolderFacts) -> Iterator[Finding]:
    if facts.free_bytes is None:
        return
    left = f"{facts.free_bytes / 1024**2:.0f} MB are free on the disk of MASA_DIR"
    if facts.free_bytes < FULL_DISK_BYTES:
        yield fail("disk", f"{left}: nothing can be kept.", f"df -h {facts.path}")
    elif facts.free_bytes < LOW_DISK_BYTES:
        yield warn("disk", f"{left}.", f"df -h {facts.path}")
    else:
        yield ok("disk", f"{left}.")


def _own_folder(path: str) -> str:
    return f"mkdir -p {path} && chmod 700 {path}, or set MASA_DIR to a folder of your own."


def http_findings(facts: HttpFacts) -> Iterator[Finding]:
    """Does the node serve, or could it?"""
    if facts.is_running and facts.answers:
        yield ok("http", f"the node serves at {facts.url}")
    elif facts.is_running:
        says = f"the node runs, but does not answer at {facts.url}: {facts.error}"
        yield fail("http", says, facts.fix or "See its log.")
    elif facts.error:
        yield fail("http", facts.error, facts.fix or "Set PORT to another one; 0 takes a free one.")
    else:
        yield warn("http", f"no node runs with this MASA_DIR; it would serve at {facts.url}", "masa-node up")


def llm_findings(facts: LlmFacts) -> Iterator[Finding]:
    """Each LLM server: reached, models, one token."""
    for server in facts.servers:
        yield _server(server)
    if not facts.servers and not facts.is_unknown:
        if facts.ollama:
            says = f"no Ollama answers at {facts.ollama} (OLLAMA_HOST), and no other LLM server was found."
            yield warn("llm", says, "Start it, correct OLLAMA_HOST, or set LLM_CHAT_URL.")
        elif facts.finds_local:
            says = "no LLM server was found on this machine, and none is named in the settings."
            yield warn("llm", says, "Start Ollama, or set LLM_CHAT_URL; `masa-node up --llm` brings a small LLM along.")
        else:
            yield warn("llm", "no LLM server is behind this node (FIND_LOCAL=0).", "Set LLM_CHAT_URL.")


def _server(server: ServerFacts) -> Finding:
    check = f"llm {server.name}"
    if server.code:
        return fail(check, f"{server.location} cannot be asked: {server.why}", _next_for(server))
    if server.models == 0:
        return fail(check, f"{server.location} serves no model.", "Load one there: `ollama pull llama3.2` for Ollama.")
    listed = "it lists no models" if server.models is None else f"models: {server.models}"
    if server.note:
        fix = "Is its key right, or user and password in its URL? `masa-node settings` shows where they come from."
        return warn(check, f"{server.location}: {server.note}", fix)
    return _token(server, check, listed)


def _token(server: ServerFacts, check: str, listed: str) -> Finding:
    if server.token_from:
        return ok(check, f"{server.location}: {listed}; {server.token_from} gave a token.")
    if server.token_code == FirstPieceTimeout.code:
        says = f"{server.location}: {listed}, but {server.token_why}"
        return warn(check, says, "If it is loading a large model, give this command again in a minute.")
    if server.token_code:
        says = f"{server.location}: {listed}, but it gave no token: {server.token_why}"
        return fail(check, says, "See that server's own log.")
    why = "it is hosted and costs money" if server.is_hosted else "no chat model is among them"
    return ok(check, f"{server.location}: {listed}; no token was asked for, as {why}.")


def _next_for(server: ServerFacts) -> str:
    return _NEXT_OF_EMBEDDED if server.is_embedded else _NEXT.get(server.code, _NEXT_OTHERWISE)


def clock_findings(facts: ClockFacts) -> Iterator[Finding]:
    """Adverts and vouchers are refused where clocks differ by more than MAX_CLOCK_SKEW_S."""
    if not facts.ahead_of:
        return
    # The median: one other clock that is wrong must not speak against this one.
    ordered = sorted(facts.ahead_of, key=lambda each: each[1])
    who, ahead_s = min(ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2], key=lambda each: abs(each[1]))
    how = f"{abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} {who}"
    if abs(ahead_s) > MAX_CLOCK_SKEW_S:
        says = f"this machine's clock is {how}; peers refuse a clock that is {MAX_CLOCK_SKEW_S / 60:.0f} minutes off."
        yield fail("clock", says, f"{_SET_CLOCK}{'' if len(ordered) > 1 else _ONE_WITNESS}")
    elif abs(ahead_s) > NOTICED_SKEW_S:
        yield warn("clock", f"this machine's clock is {how}.", _SET_CLOCK)
    else:
        yield ok("clock", f"this machine's clock agrees with {who}.")


def version_findings(version: str) -> Iterator[Finding]:
    """Which release this is."""
    yield ok("version", f"masa-node {version}")


def chain_findings(facts: ChainFacts) -> Iterator[Finding]:
    """Can stakes be read?"""
    if facts.is_off:
        yield ok("chain", "stakes are not checked.")
    elif facts.failure and (facts.failed_s_ago or 0) < LATE_READING_S:
        yield fail("chain", f"the chain is not read: {facts.failure}", "masa-node stake status")
    else:
        yield ok("chain", facts.staking)


def host_of(url: str) -> str:
    """The host in this URL, for people: no user, no password, no query."""
    return urlsplit(url).hostname or url
