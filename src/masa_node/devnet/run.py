"""A network with stakes to try on this machine: a chain of its own, and what three nodes need to be started upon it.

Real transactions and real signatures; two of the nodes' owners are staked, the third has the tokens for it. All keys
are fresh and thrown away. The nodes are started by whoever tries it.
"""

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from masa_node.chat.errors import MasaError
from masa_node.devnet.anvil import Anvil
from masa_node.devnet.deployment import FundedOwner, deploy
from masa_node.devnet.folder import DevnetFolder
from masa_node.devnet.nodes import PASSPHRASE, DevnetNode, make_nodes, make_people
from masa_node.node.chain_http import ChainHttp
from masa_node.node.signals import stop_signals
from masa_node.staking.contract.profile import write_profile
from masa_node.staking.ethereum.crypto import Address
from masa_node.staking.ethereum.rpc import Rpc
from masa_node.upstreams.http.client import HttpClient

NETWORK_NAME = "devnet"


class Devnet(msgspec.Struct, frozen=True):
    """What was made. `profile` is the file for STAKE_NETWORK, `passphrase` opens every keystore."""

    folder: str
    rpc_url: str
    chain_id: int
    token: Address
    contract: Address
    profile: str
    passphrase: str
    nodes: list[DevnetNode]


class ChainEnded(MasaError):
    """The local chain ended by itself, or was ended by somebody else. Start the devnet again: it begins again."""

    code = "chain_ended"


class DevnetListener(Protocol):
    """Is told how the devnet's start and end go."""

    def on_ready(self, devnet: Devnet) -> None:
        """Everything is there; the nodes can be started."""
        ...

    def on_ended(self, devnet: Devnet) -> None:
        """The chain has ended, as was wished; the files are still there."""
        ...


async def run_devnet(anvil: Path, path: Path, announce: DevnetListener) -> None:
    """Make it in the folder at `path`, and keep its chain until SIGINT or SIGTERM.

    Raises `ConfigurationError`; `ChainEnded` when the chain ends before; `ChainUnknown` and the errors of transactions.
    """
    with DevnetFolder(path) as folder:
        async with HttpClient() as http, Anvil(anvil) as chain:
            devnet = await _make(folder, Rpc(ChainHttp(http), [chain.url]), chain.url)
            with _stopped_by_signals() as stopped:
                announce.on_ready(devnet)
                await _first_of_both(stopped, chain)
            if not stopped.is_set():
                raise ChainEnded("The local chain ended by itself. Start the devnet again: it begins again.")
        announce.on_ended(devnet)


async def _make(folder: DevnetFolder, rpc: Rpc, url: str) -> Devnet:
    people = await asyncio.to_thread(make_people, folder)
    deployed = await deploy(rpc, url, NETWORK_NAME, [FundedOwner(person.owner, person.is_staked) for person in people])
    profile = deployed.profile
    await asyncio.to_thread(write_profile, profile, folder.profile)
    return Devnet(
        folder=str(folder.path),
        rpc_url=url,
        chain_id=profile.chain_id,
        token=deployed.token,
        contract=profile.contract,
        profile=str(folder.profile),
        passphrase=PASSPHRASE,
        nodes=await make_nodes(folder, people, profile),
    )


@contextmanager
def _stopped_by_signals() -> Generator[asyncio.Event]:
    """Is set by SIGINT and SIGTERM. Before and after it, SIGINT cancels, as everywhere."""
    stopped, loop = asyncio.Event(), asyncio.get_running_loop()
    numbers = stop_signals()
    for number in numbers:
        loop.add_signal_handler(number, stopped.set)
    try:
        yield stopped
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def _first_of_both(stopped: asyncio.Event, chain: Anvil) -> None:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(stopped.wait()), group.create_task(chain.ended())]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
