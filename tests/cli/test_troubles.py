"""What of a report is told to whoever starts a node, and what a start has no use for."""

import subprocess
import sys

from masa_node.cli.troubles import about_network
from masa_node.node.doctor.findings import fail, ok, report_of, warn


def test_of_a_report_the_lines_about_the_network_are_picked_the_worst_first() -> None:
    lines = (warn("peer b0b0b0b0b0", "away"), fail("relay", "off"), ok("udp", "fine"), fail("llm llm", "off"))
    assert [line.check for line in about_network(report_of(lines))] == ["relay", "peer b0b0b0b0b0"]


def test_a_node_starts_without_what_only_people_look_at() -> None:
    """Rich and what it brings along take a fifth of the time and of the memory of a start."""
    parts = (
        "masa_node.cli.main, masa_node.cli.banner, masa_node.cli.troubles, masa_node.node.run, masa_node.telemetry.log"
    )
    code = f"import sys, {parts}; print(sorted({{'rich', 'pygments', 'attr'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "[]\n"
