"""What the commands about peers look at: the running node, or what it has left in MASA_DIR."""

import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import msgspec
from rich.console import Console

from masa_node.chat.errors import ConfigurationError, Unreachable
from masa_node.chat.owner_errors import NotDone
from masa_node.cli.output import check_url
from masa_node.cli.peers.listing import NetworkView, fetch_peers, remembered
from masa_node.network.store.joins import refusal
from masa_node.network.store.node_key import load_secret
from masa_node.network.transport.interfaces import NodeId, PeerAddress, short_id
from masa_node.node.owner.folder import CommandedNode, kept_url, known_address, own_id
from masa_node.storage.database import StoreFailed
from masa_node.storage.lock import is_held_by_another, url_of_node_alone
from masa_node.upstreams.http.proxies import NO_PROXIES, Proxies


def commanded(masa_dir: Path) -> CommandedNode:
    """The node of this folder, for a command; while it waits, it says so on the terminal."""
    return CommandedNode(masa_dir, partial(is_held_by_another, masa_dir), Console(stderr=True).status)


async def show_peers(
    masa_dir: Path, url: str, default_url: str, api_keys: Sequence[str], proxies: Proxies = NO_PROXIES
) -> NetworkView:
    """What the node at `url` tells; without one the node of this MASA_DIR, or what it remembers if it does not run."""
    if url:
        check_url(url)
        return await fetch_peers(url, api_keys, proxies)
    is_running = is_held_by_another(masa_dir)
    async with commanded(masa_dir).store() as store:
        own = await own_id(store)
        memory = remembered(own, await store.load())
        own_url = await kept_url(store)
    if not is_running:
        return memory
    where = own_url or default_url
    try:
        answered = await fetch_peers(where, api_keys if own_url else ())
    except Unreachable as exc:
        why = f"the node runs, but does not answer at {where}: {exc.message}"
        return msgspec.structs.replace(memory, state="unknown", why=why)
    if own and answered.node_id and answered.node_id != own:
        raise NotDone(f"At {where} answers another node, {short_id(answered.node_id)}. Name this one's with --url.")
    return answered


async def url_of_running_node(masa_dir: Path) -> str:
    """Where the node of this MASA_DIR serves HTTP; "" if none runs, as far as the folder tells.

    A lock in the folder proves that the node is its owner's. What listens at PORT otherwise may be anybody's program,
    and is given no key.
    """
    if not masa_dir.exists():  # noqa: ASYNC240 - as quick as the rest of a command's start
        return ""
    try:
        if not is_held_by_another(masa_dir):
            return url_of_node_alone(masa_dir)
        async with commanded(masa_dir).store() as store:
            return await kept_url(store)
    except (ConfigurationError, StoreFailed):  # a folder that cannot be used proves nothing
        return ""


async def own_address(masa_dir: Path) -> PeerAddress:
    """This node's id, and its addresses once it was on the network. Makes the node's key if there is none yet."""
    node_id = await asyncio.to_thread(_id_of_key, masa_dir)
    async with commanded(masa_dir).store() as store:
        address = await known_address(store)
    return address if address is not None and address.node_id == node_id else PeerAddress(node_id)


def _id_of_key(masa_dir: Path) -> NodeId:
    from masa_node.network.transport.iroh.keys import IrohKeys  # noqa: PLC0415 - takes 0.1 s, and only this needs it

    return IrohKeys(load_secret(masa_dir)).node_id


async def refused_join(masa_dir: Path) -> str:
    """Why the last join was refused, if it was and nobody was told then; "" otherwise."""
    async with commanded(masa_dir).store() as store:
        return await refusal(store)
