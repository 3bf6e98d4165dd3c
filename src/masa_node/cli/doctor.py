"""`masa-node doctor`: the report of the running node, or of what can be seen while none runs."""

import asyncio
import contextlib
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.text import Text

from masa_node.chat.errors import ConfigurationError, MasaError, NotAnAnswer, ProviderError
from masa_node.cli.output import console, plain
from masa_node.cli.peers.actions import url_of_running_node
from masa_node.network.store.joins import refusal
from masa_node.network.store.store import Store
from masa_node.network.transport.interfaces import Route
from masa_node.node.doctor.facts import HttpFacts, NetworkFacts, SettingsFacts
from masa_node.node.doctor.findings import Finding, Level, Report, report_of
from masa_node.node.doctor.gather import gather_at_rest
from masa_node.node.doctor.network_checks import NETWORK_CHECKS
from masa_node.node.doctor.network_facts import remembered
from masa_node.node.doctor.own_checks import settings_findings
from masa_node.node.doctor.report import examine, in_words, troubles
from masa_node.node.node import Node
from masa_node.node.peering.state import Up
from masa_node.node.serve import until_ready
from masa_node.node.settings.environment import read_settings
from masa_node.node.settings.words import listed
from masa_node.routing.answers.reader import read_whole
from masa_node.storage.lock import is_held_by_another
from masa_node.upstreams.http.client import HttpClient

MAX_REPORT_BYTES = 1024 * 1024  # a hundred peers and their reasons take less
MAX_LINE_CHARS = 500
ANSWERS_WITHIN_S = 9.5  # the node's own looks end before
LINKED_WITHIN_S = 10.0  # of the start: a dial and its greeting at the slowest
LOOK_EVERY_S = 0.5
TOLD_WHEN_LINKED = ("relay", "clock")  # others cannot come, though those that are here did
_OK = 200
_COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}


async def diagnose() -> Report:
    """The running node's own report; without one, or if it does not answer, what this command sees itself."""
    try:
        settings = read_settings()
    except ConfigurationError as exc:
        return report_of(settings_findings(SettingsFacts((exc.message,))))
    masa_dir = Path(settings.masa_dir).expanduser()  # noqa: ASYNC240 - reads no disk
    if not _is_running(masa_dir):
        return examine(await gather_at_rest(settings, await _remembered(masa_dir), settings.relay_url))
    usual = f"http://127.0.0.1:{settings.port}"
    url = await url_of_running_node(masa_dir, usual)
    try:
        return await fetch_report(url, listed(settings.api_key))
    except ProviderError as exc:
        facts = await gather_at_rest(settings, await _remembered(masa_dir), settings.relay_url)
        silent = HttpFacts(url, is_running=True, error=exc.message)
        return examine(msgspec.structs.replace(facts, http=silent))


async def fetch_report(url: str, api_keys: Sequence[str], *, whole: bool = True) -> Report:
    """What the node at this URL finds; unless `whole`, its LLM servers are left alone. Raises `ProviderError`."""
    headers = (("Authorization", f"Bearer {api_keys[0]}"),) if api_keys else ()
    try:
        async with asyncio.timeout(ANSWERS_WITHIN_S), HttpClient() as http:
            answer = await http.get(f"{url.rstrip('/')}/api/v1/doctor{'' if whole else '?only=network'}", headers)
            body = await read_whole(answer, MAX_REPORT_BYTES)
        if answer.status == _OK:
            return msgspec.json.decode(body, type=Report)
    except TimeoutError:
        raise NotAnAnswer(f"no answer within {ANSWERS_WITHIN_S:g} s.") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise NotAnAnswer("what answers there is not a Masa node of this release.") from exc
    raise NotAnAnswer(f"it answered {answer.status}. Is API_KEY that of the node?")


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


def _is_running(masa_dir: Path) -> bool:
    """A folder that cannot be made has a line of its own in the report."""
    if not masa_dir.exists():
        return False
    try:
        return is_held_by_another(masa_dir)
    except ConfigurationError:
        return False


async def _remembered(masa_dir: Path) -> NetworkFacts:
    """What MASA_DIR holds; looking makes no folder."""
    if not masa_dir.exists():  # noqa: ASYNC240 - as quick as the rest of this command's start
        return NetworkFacts()
    try:
        store = await Store.open(masa_dir)
    except (MasaError, OSError):
        return NetworkFacts()
    try:
        return remembered(await store.load(), await refusal(store))
    finally:
        await store.close()


async def tell_of_troubles(node: Node) -> None:
    """Beside a node that starts: print why it is linked with nobody, if it is not, and what is wrong with its relay."""
    await until_ready(node)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINKED_WITHIN_S):
            while not _is_linked(node):  # noqa: ASYNC110 - links come from several places, none of them an event here
                await asyncio.sleep(LOOK_EVERY_S)
    if isinstance(node.peer_service.state, Up):
        lines = about_network(await node.report(whole=False))
        for line in lines if not _is_linked(node) else (line for line in lines if line.check in TOLD_WHEN_LINKED):
            print(in_words(line), flush=True)


def about_network(report: Report) -> list[Finding]:
    """Only what keeps peers away, the worst first; then where to read the rest."""
    return [line for line in troubles(report) if line.check.partition(" ")[0] in NETWORK_CHECKS]


def _is_linked(node: Node) -> bool:
    return any(node.peer_service.state.count_linked(route) for route in Route)
