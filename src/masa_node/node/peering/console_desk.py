"""Where `masa-node console` is answered: the hash of its token comes by an owner command, with peers and without."""

import asyncio
from pathlib import Path

import structlog

from masa_node.accounts.sessions import TOKEN_LASTS_S, Sessions
from masa_node.chat.errors import MasaError
from masa_node.network.store.commands import CommandResult, CommandState, OwnerCommand, Verb
from masa_node.network.store.store import FILE_NAME, Store

LOOK_EVERY_S = 1.0  # at the store: a command waits this long at most

log = structlog.get_logger()


class ConsoleDesk:
    """`url` is where the node serves HTTP; "" if it does not. `is_on`: is there a console (CONSOLE)?"""

    def __init__(self, sessions: Sessions, url: str, *, is_on: bool) -> None:
        self._sessions = sessions
        self._url = url
        self._is_on = is_on

    async def take(self, store: Store) -> list[OwnerCommand]:
        """The commands that wait, oldest first, but for those about the console: they are answered."""
        others: list[OwnerCommand] = []
        for command in await store.pending_commands():
            if command.verb is not Verb.CONSOLE:
                others.append(command)
                continue
            answer = self._answer(command)
            await store.finish_command(command.id, answer.state, answer.words)
        return others

    async def keep(self, masa_dir: Path) -> None:
        """Until cancelled: answer them, and no other command, where there is no network to do it. Makes no file.

        Raises nothing: where the store cannot be read, a warning says so, and commands are not answered.
        """
        try:
            while not (masa_dir / FILE_NAME).exists():  # noqa: ASYNC110 - no event tells of a file
                await asyncio.sleep(LOOK_EVERY_S)
            await self._take_all(await Store.open(masa_dir))
        except (MasaError, OSError) as exc:
            log.warning("`masa-node console` is not answered", why=str(exc))

    async def _take_all(self, store: Store) -> None:
        """Until cancelled; the store is closed then. Raises what `reopen` does."""
        try:
            while True:
                if await store.changed():
                    await self.take(store)
                await asyncio.sleep(LOOK_EVERY_S)
                await store.reopen()
        finally:
            await asyncio.shield(store.close())

    def _answer(self, command: OwnerCommand) -> CommandResult:
        """The words of success are the address of the console: the command puts its token behind it."""
        if not self._is_on:
            return CommandResult(CommandState.FAILED, "This node has no console: CONSOLE=off. Unset it, and restart.")
        if not self._url:
            return CommandResult(CommandState.FAILED, "This node serves no HTTP, so that there is no console.")
        if not self._sessions.offer(command.argument, command.made_at_unix_s):
            why = f"The node read the command more than {TOKEN_LASTS_S} s after it was given. Give it once more."
            return CommandResult(CommandState.FAILED, why)
        log.info("a link to the console was made", lasts_s=TOKEN_LASTS_S)
        return CommandResult(CommandState.DONE, f"{self._url}/console/")
