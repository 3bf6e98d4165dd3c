"""Has coding agents work over a hop with scripted servers of each kind. `python -m tools.try_agents`.

Each gets one task: run a command with its shell tool, and tell what came out in a second turn. Prints a table. The
agents are those of npm, in the versions below, installed once under `.cache/agents`: node and npm are needed. About ten
seconds for each agent and kind.
"""

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from masa_node.telemetry import log
from tools.scripted.nodes import node_before
from tools.scripted.script import COMMAND, PROOF
from tools.scripted.server import KINDS, MODEL, Scripted

INSTALLED = Path(__file__).resolve().parent.parent / ".cache" / "agents"
VERSIONS = {
    "claude": ("@anthropic-ai/claude-code", "2.1.197", "install.cjs"),
    "codex": ("@openai/codex", "0.171.0", ""),
    "opencode": ("opencode-ai", "1.18.33", "postinstall.mjs"),
    "gemini": ("@google/gemini-cli", "0.61.0", ""),
}
TASK = "Run one shell command, and tell me what it printed."
WITHIN_S = 120.0


def install() -> None:
    """The agents under INSTALLED. Their own scripts, which npm does not run, put the programs in their place."""
    if (INSTALLED / "made").exists():
        return
    INSTALLED.mkdir(parents=True, exist_ok=True)
    npm, node = (shutil.which(each) or each for each in ("npm", "node"))
    names = [f"{package}@{version}" for package, version, _ in VERSIONS.values()]
    subprocess.run([npm, "install", "--silent", "--no-fund", "--prefix", INSTALLED, *names], check=True)
    for package, _, script in VERSIONS.values():
        if script:
            subprocess.run([node, script], cwd=INSTALLED / "node_modules" / package, check=True)
    (INSTALLED / "made").touch()


def command_of(agent: str, url: str, home: Path) -> tuple[list[str], dict[str, str]]:
    """How the agent is started before the node at `url`, with what in its environment. It keeps its files in `home`."""
    program = str(INSTALLED / "node_modules" / ".bin" / agent)
    if agent == "claude":
        models = ("ANTHROPIC_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL")
        own = {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_AUTH_TOKEN": "unused", **dict.fromkeys(models, MODEL)}
        quiet = {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "CLAUDE_CONFIG_DIR": str(home / "claude")}
        return [program, "-p", TASK, "--allowedTools", "Bash"], own | quiet
    if agent == "codex":
        provider = (
            f'{{name="node",base_url="{url}/v1",wire_api="responses",request_max_retries=0,stream_max_retries=0}}'
        )
        settings = (f"model={MODEL}", "model_provider=node", f"model_providers.node={provider}")
        options = [part for setting in settings for part in ("-c", setting)]
        free = ["--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"]
        (home / "codex").mkdir()
        return [program, "exec", *free, *options, TASK], {"CODEX_HOME": str(home / "codex")}
    if agent == "gemini":
        own = {"GOOGLE_GEMINI_BASE_URL": url, "GEMINI_API_KEY": "unused", "GEMINI_CLI_TRUST_WORKSPACE": "true"}
        settings_file = home / ".gemini" / "settings.json"
        settings_file.parent.mkdir()
        settings_file.write_text(
            '{"security": {"auth": {"selectedType": "gemini-api-key"}}, "privacy": {"usageStatisticsEnabled": false}}'
        )
        return [program, "-m", MODEL, "--yolo", "-p", TASK], own
    provider_of = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{url}/v1", "apiKey": "unused"},
        "models": {MODEL: {"name": MODEL}},
    }
    config = {"provider": {"node": provider_of}, "small_model": f"node/{MODEL}", "permission": "allow"}
    return [program, "run", "-m", f"node/{MODEL}", TASK], {"OPENCODE_CONFIG_CONTENT": json.dumps(config)}


async def outcome_of(agent: str, kind: str, *, hop: bool, verbose: bool) -> str:
    """The word `works`, or what was wrong."""
    with Scripted(kind).running() as server, tempfile.TemporaryDirectory(prefix="masa-agents-") as folder:
        async with node_before(server, folder, hop=hop) as node:
            work, home = Path(folder) / "work", Path(folder) / "home"
            work.mkdir()
            home.mkdir()
            command, own = command_of(agent, node.url, home)
            environment = {"PATH": os.environ["PATH"], "HOME": str(home), "NO_PROXY": "127.0.0.1"} | own
            said, code = await _run(command, environment, work)
        if verbose:
            print(said, server.asked, sep="\n", file=sys.stderr)
        is_whole = said.count(PROOF) > 0 and any(PROOF in json.dumps(body) for body in server.bodies)
        return "works" if is_whole and code == 0 else f"fails ({code}): {said[-300:]!r}, asked {server.asked[-4:]}"


async def _run(command: list[str], environment: dict[str, str], folder: Path) -> tuple[str, int | None]:
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        cwd=folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        return f"not done within {WITHIN_S:g} s", None
    return said.decode("utf-8", "replace"), process.returncode


async def table(agents: list[str], kinds: list[str], *, hop: bool, verbose: bool) -> bool:
    """Prints it row by row. Did all work?"""
    print("| server behind the node |", " | ".join(agents), "|\n|---|", "---|" * len(agents), sep="", flush=True)
    is_well = True
    for kind in kinds:
        row = [await outcome_of(agent, kind, hop=hop, verbose=verbose) for agent in agents]
        is_well = is_well and all(each == "works" for each in row)
        print("|", kind, "|", " | ".join(row), "|", flush=True)
    return is_well


def main() -> int:
    """0 when all of them work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agent", action="append", choices=list(VERSIONS), help="only this one (repeatable)")
    parser.add_argument("--kind", action="append", choices=list(KINDS), help="only this server (repeatable)")
    parser.add_argument("--straight", action="store_true", help="one node before the server, no hop")
    parser.add_argument("--verbose", action="store_true", help="also print what the agents say")
    chosen = parser.parse_args()
    install()
    log.configure("error", "auto")
    print(f"The task: {TASK} (`{COMMAND}`, chosen by the scripted model)")
    agents, kinds = chosen.agent or list(VERSIONS), chosen.kind or list(KINDS)
    return int(not asyncio.run(table(agents, kinds, hop=not chosen.straight, verbose=chosen.verbose)))


if __name__ == "__main__":
    sys.exit(main())
