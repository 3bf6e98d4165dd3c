"""Links to the console of a running node, each with a token of its own."""

import secrets
import time

import msgspec

from masa_node.accounts.sessions import TOKEN_LASTS_S, hash_of
from masa_node.chat.owner_errors import NotDone
from masa_node.network.store.commands import CommandState, Verb
from masa_node.node.owner.folder import CommandedNode

_TOKEN_BYTES = 32  # 256 bits
# A node without peers (NETWORK=off) holds no lock, so nobody knows whether it is there; it looks once a second.
ALONE_WITHIN_S = 4.0
_NOBODY = (
    "No node that runs with this MASA_DIR answered. Start one with `masa-node up`; if it runs, with the same MASA_DIR "
    "as this command? Its log says more."
)


class ConsoleLink(msgspec.Struct, frozen=True):
    """A link that may be used once, until then."""

    link: str
    expires_at_unix_s: int


async def make_console_link(node: CommandedNode) -> ConsoleLink:
    """Have the running node take a new token. Raises `NotDone`, and `StoreFailed`."""
    token, now_unix_s = secrets.token_urlsafe(_TOKEN_BYTES), int(time.time())
    within_s = None if node.is_running() else ALONE_WITHIN_S
    async with node.store() as store:
        command_id = await store.add_command(Verb.CONSOLE, hash_of(token.encode()), now_unix_s)
        try:
            answer = await node.answer(store, command_id, _NOBODY, within_s)
        except NotDone:
            await store.finish_command(command_id, CommandState.FAILED, _NOBODY)  # nobody is to find it later
            raise
    return ConsoleLink(f"{answer.words}#token={token}", now_unix_s + TOKEN_LASTS_S)
