"""Compiles the contracts in src/masa_node/staking/contract/: each NAME.vy to the NAME.json beside it.

`python -m tools.compile_contracts` writes them; with `--check` it exits with 1, naming them, if any is out of date.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

import vyper
from vyper.compiler import compile_code

CONTRACTS = Path(__file__).resolve().parent.parent / "src" / "masa_node" / "staking" / "contract"

# Vyper has no custom errors: its sources declare them in comments, with the names that the ABI is to give.
_ERROR = re.compile(r"^# error (\w+)\(([^)]*)\)$", re.MULTILINE)
_METHOD_ID = re.compile(r'method_id\("([^"]*)"\)')


class UndeclaredError(Exception):
    """A source reverts with an error that no `# error` line of it declares, or declares one it never reverts with."""


def compile_contract(source: Path) -> dict[str, Any]:
    """Name, compiler, ABI (custom errors included) and the code that creates it."""
    text = source.read_text("utf-8")
    # No metadata: the code stays the same when only a comment or the path changes.
    made: dict[str, Any] = compile_code(
        text, source.name, output_formats=["abi", "bytecode"], no_bytecode_metadata=True
    )
    return {
        "name": source.stem,
        "compiler": f"vyper {vyper.__version__}",
        "abi": made["abi"] + custom_errors(text),
        "bytecode": made["bytecode"],
    }


def custom_errors(text: str) -> list[dict[str, Any]]:
    """The ABI entries of the declared errors. Raises `UndeclaredError`."""
    entries: list[dict[str, Any]] = [
        {"type": "error", "name": name, "inputs": [_input(each) for each in inputs.split(", ") if each]}
        for name, inputs in _ERROR.findall(text)
    ]
    declared = {f"{entry['name']}({','.join(each['type'] for each in entry['inputs'])})" for entry in entries}
    if different := declared ^ set(_METHOD_ID.findall(text)):
        raise UndeclaredError(", ".join(sorted(different)))
    return entries


def written(source: Path) -> str:
    """What NAME.json is to hold; the ABI one line an entry, so that a change can be read."""
    made = compile_contract(source)
    abi = ",\n".join("    " + json.dumps(entry) for entry in made["abi"])
    return (
        "{\n"
        f'  "name": {json.dumps(made["name"])},\n'
        f'  "compiler": {json.dumps(made["compiler"])},\n'
        f'  "abi": [\n{abi}\n  ],\n'
        f'  "bytecode": {json.dumps(made["bytecode"])}\n'
        "}\n"
    )


def stale_contracts(folder: Path = CONTRACTS) -> list[str]:
    """The compiled files that are not what the sources say now."""
    return [
        target.name
        for source in sorted(folder.glob("*.vy"))
        if not (target := source.with_suffix(".json")).is_file() or target.read_text("utf-8") != written(source)
    ]


def main() -> None:
    """See the module."""
    if "--check" in sys.argv:
        if stale := stale_contracts():
            sys.exit(f"Not up to date: {', '.join(stale)}. Run `python -m tools.compile_contracts`.")
        return
    for source in sorted(CONTRACTS.glob("*.vy")):
        source.with_suffix(".json").write_text(written(source), "utf-8")
        print(source.with_suffix(".json").name)


def _input(declared: str) -> dict[str, str]:
    kind, name = declared.split(" ")
    return {"name": name, "type": kind}


if __name__ == "__main__":
    main()
