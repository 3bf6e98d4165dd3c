"""Looks up the host names in addresses that the owner wrote. The transport knows IP addresses only."""

import asyncio
import socket

from masa_node.network.transport.addresses import canonical, is_host_and_port, read_address
from masa_node.network.transport.interfaces import MAX_ADDRESSES, PeerAddress
from masa_node.network.transport.unreached import PeerHostUnknown

RESOLVE_WITHIN_S = 5.0  # what the usual resolver (glibc) waits before it asks a second time


async def resolve(address: PeerAddress) -> PeerAddress:
    """The same with host names looked up, to be done before each dial; at most MAX_ADDRESSES.

    A name that is not found within RESOLVE_WITHIN_S is left out. Look-ups run in threads, all at once. Raises
    `PeerHostUnknown` when nothing is left to dial.
    """
    async with asyncio.TaskGroup() as group:
        looks = {text: group.create_task(_look_up(text)) for text in address.direct if read_address(text) is None}
    found = [found_at for text in address.direct for found_at in (looks[text].result() if text in looks else [text])]
    if looks and not found and address.relay_url is None:
        names = ", ".join(text.rpartition(":")[0] for text in looks)
        raise PeerHostUnknown(f"its host name does not resolve: {names}.")
    return PeerAddress(address.node_id, canonical(tuple(found))[:MAX_ADDRESSES], address.relay_url)


async def _look_up(text: str) -> list[str]:
    if not is_host_and_port(text):
        return []
    host, _, port = text.rpartition(":")
    try:
        async with asyncio.timeout(RESOLVE_WITHIN_S):
            found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_DGRAM)
    except (OSError, TimeoutError, UnicodeError):
        return []
    return [f"[{found_at[0]}]:{port}" if ":" in str(found_at[0]) else f"{found_at[0]}:{port}" for *_, found_at in found]
