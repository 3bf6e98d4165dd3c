"""From all facts to the report, and the few lines that other commands show of it. Pure."""

from collections.abc import Iterator

from masa_node.node.doctor.facts import Facts
from masa_node.node.doctor.findings import Finding, Level, Report, report_of
from masa_node.node.doctor.network_checks import network_findings, relay_findings, way_in_findings
from masa_node.node.doctor.own_checks import (
    chain_findings,
    clock_findings,
    folder_findings,
    http_findings,
    llm_findings,
    settings_findings,
    version_findings,
)


def examine(facts: Facts) -> Report:
    """Every check, in the order in which people should read them."""
    return report_of(_findings(facts), facts.folder.path)


def _findings(facts: Facts) -> Iterator[Finding]:
    yield from version_findings(facts.version)
    yield from settings_findings(facts.settings)
    yield from folder_findings(facts.folder)
    yield from http_findings(facts.http)
    yield from llm_findings(facts.llm)
    yield from clock_findings(facts.clock)
    yield from relay_findings(facts.relay)
    yield from way_in_findings(facts.network, facts.relay)
    yield from chain_findings(facts.chain)
    yield from network_findings(facts.network)


def troubles(report: Report) -> list[Finding]:
    """What is not well, the worst first."""
    return [line for level in (Level.FAIL, Level.WARN) for line in report.findings if line.level is level]


def in_words(line: Finding) -> str:
    """As a terminal shows it: `fail  relay: ... -> what to do`."""
    then = f" -> {line.next}" if line.next else ""
    return f"{line.level.value:<4}  {line.check}: {line.says}{then}"
