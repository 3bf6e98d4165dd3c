"""What keeps peers away, in words: beside a node that starts, and of a report. Draws nothing, so it needs no rich."""

import asyncio
import contextlib

from masa_node.cli.output import columns, folded
from masa_node.network.transport.interfaces import Route
from masa_node.node.doctor.findings import Finding, Report
from masa_node.node.doctor.network_checks import NETWORK_CHECKS
from masa_node.node.doctor.report import in_words, troubles
from masa_node.node.node import Node
from masa_node.node.peering.state import Up
from masa_node.node.serve import until_ready

LINKED_WITHIN_S = 10.0  # of the start: a dial and its greeting at the slowest
LOOK_EVERY_S = 0.5
TOLD_WHEN_LINKED = ("relay", "clock")  # others cannot come, though those that are here did


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
            print(folded(in_words(line), columns()), flush=True)


def about_network(report: Report) -> list[Finding]:
    """Only what keeps peers away, the worst first; then where to read the rest."""
    return [line for line in troubles(report) if line.check.partition(" ")[0] in NETWORK_CHECKS]


def _is_linked(node: Node) -> bool:
    return any(node.peer_service.state.count_linked(route) for route in Route)
