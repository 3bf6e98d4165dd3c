"""The contracts: `staking.vy`, and `token.vy`, a stand-in for the staked token on local chains.

Each is beside the `.json` that it compiles to (`python -m tools.compile_contracts`): deploying needs no compiler.
"""

from importlib import resources
from typing import Literal

import msgspec


class Artifact(msgspec.Struct, frozen=True):
    """A compiled contract: its ABI as JSON, the code that creates it (the constructor's arguments come after it)."""

    name: str
    abi: msgspec.Raw
    bytecode: bytes
    compiler: str


class _Written(msgspec.Struct):
    """The same as the file has it."""

    name: str
    compiler: str
    abi: msgspec.Raw
    bytecode: str


def artifact(name: Literal["staking", "token"]) -> Artifact:
    """One of the two, read from the package."""
    text = resources.files("masa_node.staking.contract").joinpath(f"{name}.json").read_bytes()
    written = msgspec.json.decode(text, type=_Written)
    return Artifact(
        name=written.name,
        abi=written.abi.copy(),
        bytecode=bytes.fromhex(written.bytecode.removeprefix("0x")),
        compiler=written.compiler,
    )
