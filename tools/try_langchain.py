"""LangChain's standard tests of chat models, straight, through the node and over a hop: `make langchain`.

Each client first asks a scripted server of its own format: that is the measure. Then it asks a node before a scripted
server of each kind, and one that has only that node for a peer. What passes straight has to pass there, or be refused
by name (`not_translatable`). Prints what did not pass; exits with 1 for a failure that is neither.
LangChain and its tests live in an environment of their own, pinned in `tools/langchain/requirements.txt`.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

from masa_node.telemetry import log
from tools.scripted.nodes import node_before
from tools.scripted.server import KINDS, MODEL, Scripted

ROOT = Path(__file__).resolve().parent.parent
TESTS = ROOT / "tools" / "langchain" / "standard_tests.py"
PYTHON = ROOT / ".cache" / "langchain" / "bin" / "python"
WITHIN_S = 300.0
# The class of tests for each client, and the kind of server that speaks its format.
CLIENTS = {"TestChat": "openai", "TestResponses": "responses", "TestAnthropic": "anthropic", "TestOllama": "ollama"}

LOOP = ("-o", "asyncio_mode=auto", "-o", "asyncio_default_test_loop_scope=session")  # clients keep connections

WAYS = ("node", "hop")
REFUSED = "cannot be translated"
Outcomes = dict[str, str]  # by test: "passed", "skipped", "refused: why", "failed: why"


async def outcomes_at(url: str, client: str) -> Outcomes:
    """Of all tests of one client against this URL."""
    with tempfile.TemporaryDirectory(prefix="masa-langchain-") as folder:
        report = Path(folder) / "report.xml"
        options = [
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:codspeed",
            "-p",
            "no:unraisableexception",
            f"--junitxml={report}",
            "--rootdir",
            folder,
        ]
        process = await asyncio.create_subprocess_exec(
            *(str(PYTHON), "-m", "pytest", *options, *LOOP, f"{TESTS}::{client}"),
            env={"PATH": os.environ["PATH"], "MASA_TRY_URL": url, "MASA_TRY_MODEL": MODEL, "NO_PROXY": "127.0.0.1"},
            cwd=folder,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        async with asyncio.timeout(WITHIN_S):
            said, _ = await process.communicate()
        if not report.exists():
            raise RuntimeError(f"pytest gave no report:\n{said.decode()[-2000:]}")
        return {str(case.get("name")): _outcome(case) for case in ET.parse(report).iter("testcase")}  # noqa: S314


def _outcome(case: ET.Element) -> str:
    for child in case:
        if child.tag in ("failure", "error"):
            why = str(child.get("message"))
            return f"{'refused' if REFUSED in why else 'failed'}: {why[:300]}"
        if child.tag == "skipped":
            return "skipped"
    return "passed"


async def outcomes_through(kind: str, client: str, *, hop: bool) -> Outcomes:
    """The same against a node before a scripted server of this kind, or over a hop."""
    with Scripted(kind).running() as server, tempfile.TemporaryDirectory(prefix="masa-langchain-") as folder:
        async with node_before(server, folder, hop=hop) as node:
            return await outcomes_at(node.url, client)


async def compared(clients: list[str], kinds: list[str]) -> bool:
    """Prints a row for each pair. Is every outcome the same?"""
    is_well = True
    for client in clients:
        with Scripted(CLIENTS[client]).running() as server:
            straight = await outcomes_at(server.url, client)
        _tell(client, f"straight ({CLIENTS[client]})", straight, straight)
        for kind in kinds:
            for where in WAYS:
                outcomes = await outcomes_through(kind, client, hop=where == "hop")
                is_well = _tell(client, f"{where}, {kind}", outcomes, straight) and is_well
    return is_well


def _tell(client: str, where: str, outcomes: Outcomes, straight: Outcomes) -> bool:
    words = [outcome.partition(":")[0] for outcome in outcomes.values()]
    counts = ", ".join(f"{words.count(word)} {word}" for word in ("passed", "refused", "failed", "skipped"))
    print(f"{client} - {where}: {counts}", flush=True)
    is_straight = outcomes is straight
    for test, outcome in outcomes.items():
        if outcome.startswith(("failed", "refused")) and (is_straight or straight[test] == "passed"):
            print(f"    {test}: {outcome}", flush=True)
    return all(straight[test] != "passed" for test, outcome in outcomes.items() if outcome.startswith("failed"))


def main() -> int:
    """0 when the node makes no difference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", action="append", choices=list(CLIENTS), help="only this one (repeatable)")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this server (repeatable)")
    chosen = parser.parse_args()
    log.configure("error", "auto")
    return int(not asyncio.run(compared(chosen.client or list(CLIENTS), chosen.kind or list(KINDS))))


if __name__ == "__main__":
    sys.exit(main())
