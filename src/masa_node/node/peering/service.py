"""The peers' side of a node, there from the start, in one of the states of `state.py`."""

import asyncio
import contextlib
from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path

import structlog

from masa_node.chat.errors import ConfigurationError, MasaError
from masa_node.node.peering.own_folder import lock_taken
from masa_node.node.peering.parts import PeerParts
from masa_node.node.peering.state import Off, PeerState, Starting
from masa_node.storage.lock import ALONE_FILE_NAME

log = structlog.get_logger()


class PeerService:
    """`run` it in a task beside the server. `ready` is set once it is known whether there is a network for now.

    It never keeps the node from serving: what fails here is logged, and stands in the state.
    """

    def __init__(self, parts: PeerParts) -> None:
        self._parts = parts
        self._masa_dir = Path(parts.settings.masa_dir).expanduser()
        self.state: PeerState = Starting()
        self.ready = asyncio.Event()
        if parts.settings.network == "off":
            self._enter(Off("NETWORK=off"))

    def _enter(self, state: PeerState) -> None:
        self.state = state
        self.ready.set()

    def arriving(self) -> list[str]:
        """Known peers that are not linked yet, in words, while the node has just started."""
        return self.state.arriving()

    def linked(self) -> Collection[str]:
        """The ids of the peers that are linked now."""
        return self.state.linked()

    def members(self) -> Collection[str]:
        """The ids of the peers that may be asked, linked now or not, without those that are only heard of."""
        return self.state.members()

    async def stop_serving(self) -> None:
        """Take no more requests of peers; returns when those under way are over."""
        await self.state.stop_serving()

    async def run(self) -> None:
        """Until cancelled. Raises nothing."""
        if self._parts.settings.network != "off":
            await self._run_network()
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise asyncio.CancelledError  # a TaskGroup in which something fails meanwhile drops it
        with await self._lock_of_node_alone():
            await self._parts.console.keep(self._masa_dir)
            await asyncio.Event().wait()  # the console's commands may end before the node does

    async def _lock_of_node_alone(self) -> AbstractContextManager[object]:
        """By it commands know where this node serves."""
        if self._parts.url:
            with contextlib.suppress(ConfigurationError):  # another node has it, or MASA_DIR is read-only
                return await lock_taken(self._masa_dir, name=ALONE_FILE_NAME, says=self._parts.url)
        return contextlib.nullcontext()

    async def _run_network(self) -> None:
        """Until it has failed; the state says why."""
        from masa_node.node.peering.network import PeerNetwork  # noqa: PLC0415 - 0.1 s that the first request need not wait

        why = "it has ended"
        try:
            await PeerNetwork(self._parts, self._enter).run()
        except (MasaError, OSError) as exc:
            why = exc.message if isinstance(exc, MasaError) else str(exc)
            log.error("no network", why=why)  # noqa: TRY400 - the owner's to mend, not a bug
        except Exception as exc:  # what the owner asks the node's own LLM servers goes on
            why = "something went wrong inside this node: its log tells where. Start it again"
            log.exception("bug: no network from now on", kind=type(exc).__name__)
        finally:
            self._enter(Off(why))
