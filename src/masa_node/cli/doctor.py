"""`masa-node doctor`: the report of the running node, or of what can be seen while none runs."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.text import Text

from masa_node.chat.errors import ConfigurationError, MasaError, NotAnAnswer, ProviderError
from masa_node.cli.models import KeyRefused, check_status
from masa_node.cli.output import console, key_header, plain
from masa_node.cli.peers.actions import url_of_running_node
from masa_node.network.store.joins import refusal
from masa_node.network.store.store import Store
from masa_node.node.doctor.at_rest import gather_at_rest
from masa_node.node.doctor.facts import HttpFacts, NetworkFacts, SettingsFacts
from masa_node.node.doctor.findings import Finding, Level, Report, report_of
from masa_node.node.doctor.network_facts import remembered
from masa_node.node.doctor.own_checks import settings_findings
from masa_node.node.doctor.report import examine, in_words, troubles
from masa_node.node.peering.own_way_in import relay_in_force
from masa_node.node.settings.environment import Settings, read_settings
from masa_node.node.settings.words import listed
from masa_node.routing.answers.reader import read_whole
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.servers.server import is_masa_node

MAX_REPORT_BYTES = 1024 * 1024  # a hundred peers and their reasons take less
MAX_LINE_CHARS = 500
SERVES_WITHIN_S = 1.0  # a node on this machine, before it is asked for more
ANSWERS_WITHIN_S = 9.5  # the node's own looks end before
_ANOTHER = "A node with another MASA_DIR serves there: set MASA_DIR to that, to ask it. Or set PORT to another one."
_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


async def diagnose() -> Report:
    """The running node's own report; without one, or if it does not answer, what this command sees itself."""
    try:
        settings = read_settings()
    except ConfigurationError as exc:
        return report_of(settings_findings(SettingsFacts((exc.message,))))
    masa_dir = Path(settings.masa_dir).expanduser().absolute()  # noqa: ASYNC240 - reads no disk
    usual = f"http://127.0.0.1:{settings.port}"
    url = await url_of_running_node(masa_dir)
    silent: HttpFacts | None = None
    if not url:
        own = await _of_node_without_lock(usual, str(masa_dir))
        if own is not None:
            return own
    else:
        try:
            return await fetch_report(url, listed(settings.api_key))
        except KeyRefused as exc:
            silent = HttpFacts(url, is_running=True, error=f"{exc.why}.", fix=exc.fix)
        except ProviderError as exc:
            silent = HttpFacts(url, is_running=True, error=exc.message)
    facts = await gather_at_rest(settings, *await _remembered(masa_dir, settings))
    if silent is None and facts.http.error and await _serves(usual):
        silent = msgspec.structs.replace(facts.http, fix=_ANOTHER)
    return examine(msgspec.structs.replace(facts, http=silent or facts.http))


async def _of_node_without_lock(url: str, masa_dir: str) -> Report | None:
    """Where MASA_DIR cannot hold a lock, a node is known by the folder that it names. It might lie: it gets no key."""
    try:
        report = await fetch_report(url, ()) if await _serves(url) else None
    except ProviderError:
        return None
    return report if report is not None and report.masa_dir == masa_dir else None


async def _serves(url: str) -> bool:
    """Does a node serve there, whosever it is?"""
    try:
        async with asyncio.timeout(SERVES_WITHIN_S), HttpClient() as http:
            (answer := await http.get(f"{url}/healthz", ())).close()
    except (TimeoutError, ProviderError):
        return False
    return is_masa_node(answer)


async def fetch_report(url: str, api_keys: Sequence[str], *, whole: bool = True) -> Report:
    """What the node at this URL finds; unless `whole`, its LLM servers are left alone. Raises `ProviderError`."""
    headers = key_header(api_keys)
    try:
        async with asyncio.timeout(ANSWERS_WITHIN_S), HttpClient() as http:
            answer = await http.get(f"{url.rstrip('/')}/api/v1/doctor{'' if whole else '?only=network'}", headers)
            body = await read_whole(answer, MAX_REPORT_BYTES)
        check_status(answer.status, "a report")
        return msgspec.json.decode(body, type=Report)
    except TimeoutError:
        raise NotAnAnswer(f"no answer within {ANSWERS_WITHIN_S:g} s.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise NotAnAnswer("what answers there is not a Masa node of this release.") from exc


def print_report(report: Report) -> None:
    """A line each, and the verdict."""
    out = console()
    for line in report.findings:
        out.print(_line(line))
    found = troubles(report)
    bad = sum(line.level is Level.FAIL for line in found)
    out.print("All is well." if not found else f"{bad} failed, {len(found) - bad} may trouble somebody.")


def _line(line: Finding) -> Text:
    text = Text(plain(in_words(line), MAX_LINE_CHARS))
    text.stylize(_COLOURS[line.level], 0, len(Level.WARN))
    return text


async def _remembered(masa_dir: Path, settings: Settings) -> tuple[NetworkFacts, str]:
    """What MASA_DIR holds, and the relay that the node will use; looking makes no folder."""
    nothing = NetworkFacts(), settings.relay_url
    if not masa_dir.exists():  # noqa: ASYNC240 - as quick as the rest of this command's start
        return nothing
    try:
        store = await Store.open(masa_dir)
    except (MasaError, OSError):
        return nothing
    try:
        relay = settings.relay_url or await relay_in_force(store, settings) or ""
        return remembered(await store.load(), await refusal(store)), relay
    finally:
        await store.close()
