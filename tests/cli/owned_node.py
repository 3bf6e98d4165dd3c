"""Stands in for a running node: holds the lock of a MASA_DIR, and answers commands as one does. Run as a program.

It gets an address once it is given an invite, as a node that had nobody to be connected with does.
"""

import asyncio
import sys
import time
from pathlib import Path

import msgspec

from masa_node.network.links.peer_book import PeerBook
from masa_node.network.store.commands import CommandResult, CommandState, Verb, apply
from masa_node.network.store.store import Store
from masa_node.network.transport.interfaces import NodeId, PeerAddress
from masa_node.storage.lock import NodeLock

OWN_ID = NodeId("0e" * 32)
RELAY = "https://relay.example.org/"
ADDRESS = PeerAddress(OWN_ID, ("203.0.113.7:4433",))


async def main(masa_dir: Path, answer_to_join: str) -> None:
    with NodeLock.take(masa_dir):
        store = await Store.open(masa_dir)
        book = PeerBook(await store.load(), own=OWN_ID)
        print("runs", flush=True)  # noqa: T201 - the test waits for it
        while True:
            if answer_to_join != "silence" and await store.changed():
                await look(store, book, answer_to_join)
            await asyncio.sleep(0.02)


async def look(store: Store, book: PeerBook, answer_to_join: str) -> None:
    if await store.invites() and await store.value("address") is None:
        await store.set_value("address", msgspec.msgpack.encode(ADDRESS))
        await store.set_value("settled", b"1")
    for command in await store.pending_commands():
        if command.verb is Verb.JOIN:
            state = CommandState.DONE if answer_to_join.startswith("Joined") else CommandState.FAILED
            answer = CommandResult(state, answer_to_join)
        elif command.verb is Verb.RELAY:
            relay_url = None if command.argument == "none" else RELAY
            await store.set_value("address", msgspec.msgpack.encode(PeerAddress(OWN_ID, ADDRESS.direct, relay_url)))
            await store.set_value("relay", command.argument.encode())
            answer = CommandResult(CommandState.DONE, "Relay.")
        else:
            answer = apply(command, book, time.time())
            await store.save(*book.take_changes())
        await store.finish_command(command.id, answer.state, answer.words)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
