"""How joining goes, kept for whoever gave the command: it may have been given while no node ran, or not waited for."""

import time

from masa_node.network.store.store import Store

REFUSAL_KEPT_S = 86_400  # whoever has not looked for a day does not wait for it
MAX_WORDS_BYTES = 2_000

_REFUSED, _UNDER_WAY = "join_refused", "join_under_way"


async def keep_refusal(store: Store, words: str) -> None:
    """The last join was refused, for this reason; "" when it was not, or its owner was told."""
    await store.set_value(_REFUSED, f"{int(time.time())} {words}".encode()[:MAX_WORDS_BYTES] if words else b"")


async def refusal(store: Store) -> str:
    """Why the last join was refused; "" if it was not, if its owner was told, or if that is over a day ago."""
    at_unix_s, _, words = (await store.value(_REFUSED) or b"").decode("utf-8", "replace").partition(" ")
    is_new = at_unix_s.isdigit() and time.time() - int(at_unix_s) < REFUSAL_KEPT_S
    return words if is_new else ""


async def keep_obstacle(store: Store, words: str) -> None:
    """A join is tried again and again; this was in the way last. "" when none is under way."""
    await store.set_value(_UNDER_WAY, words.encode()[:MAX_WORDS_BYTES])


async def obstacle(store: Store) -> str:
    """What was in the way of a join that is still tried."""
    return (await store.value(_UNDER_WAY) or b"").decode("utf-8", "replace")
