"""Commands about the console: answered with peers and without, and every other command left to whom it is for."""

import asyncio
import time
from pathlib import Path

import pytest

from masa_node.accounts.sessions import TOKEN_LASTS_S, Sessions, hash_of
from masa_node.chat.errors import ConfigurationError, Unauthorized
from masa_node.network.store.commands import CommandState, OwnerCommand, Verb
from masa_node.network.store.store import FILE_NAME, Store
from masa_node.node.peering import console_desk
from masa_node.node.peering.console_desk import ConsoleDesk

URL = "http://127.0.0.1:8080"
HASH = hash_of(b"token")


def desk(sessions: Sessions | None = None, url: str = URL, *, is_on: bool = True) -> ConsoleDesk:
    return ConsoleDesk(sessions if sessions is not None else Sessions(), url, is_on=is_on)


async def given(store: Store, made_at_unix_s: float | None = None) -> int:
    return await store.add_command(Verb.CONSOLE, HASH, time.time() if made_at_unix_s is None else made_at_unix_s)


async def answered(store: Store, command_id: int) -> OwnerCommand:
    command = await store.command(command_id)
    assert command is not None
    return command


async def test_the_answer_is_where_the_console_is_and_the_token_is_good() -> None:
    store, sessions = Store.in_memory(), Sessions()
    command_id = await given(store)
    assert await desk(sessions).take(store) == []
    answer = await answered(store, command_id)
    assert (answer.state, answer.words, answer.argument) == (CommandState.DONE, f"{URL}/console/", "")
    assert sessions.exchange("token")


async def test_other_commands_are_left_alone() -> None:
    store = Store.in_memory()
    other = await store.add_command(Verb.CHECK, "a" * 64, time.time())
    await given(store)
    assert [each.id for each in await desk().take(store)] == [other]
    assert [each.id for each in await store.pending_commands()] == [other]


@pytest.mark.parametrize(
    ("refusing", "age_s", "words"),
    [
        (desk(is_on=False), 0.0, "CONSOLE=off"),
        (desk(url=""), 0.0, "no HTTP"),
        (desk(), TOKEN_LASTS_S + 5.0, "once more"),
    ],
)
async def test_what_cannot_be_is_refused_in_words(refusing: ConsoleDesk, age_s: float, words: str) -> None:
    store = Store.in_memory()
    command_id = await given(store, time.time() - age_s)
    await refusing.take(store)
    answer = await answered(store, command_id)
    assert (answer.state, words in answer.words) == (CommandState.FAILED, True)


async def test_a_command_that_is_late_gives_no_session() -> None:
    store, sessions = Store.in_memory(), Sessions()
    await given(store, time.time() - TOKEN_LASTS_S - 5)
    await desk(sessions).take(store)
    with pytest.raises(Unauthorized):
        sessions.exchange("token")


async def test_without_a_network_it_is_answered_once_there_is_a_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console_desk, "LOOK_EVERY_S", 0.01)
    keeping = asyncio.create_task(desk().keep(tmp_path))
    await asyncio.sleep(0)
    assert not (tmp_path / FILE_NAME).exists()
    store = await Store.open(tmp_path)
    try:
        command_id = await given(store)
        async with asyncio.timeout(5):
            while (await answered(store, command_id)).state is CommandState.PENDING:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await answered(store, command_id)).state is CommandState.DONE
    finally:
        keeping.cancel()
        await asyncio.wait([keeping])
        await store.close()


async def test_a_store_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await store.database.write(lambda connection: connection.execute("PRAGMA user_version = 999").fetchall())
    await store.close()
    await asyncio.wait_for(desk().keep(tmp_path), 5)


async def test_a_store_that_turns_out_to_be_newer_ends_no_node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could not be opened at first, so memory stood in for it."""

    async def newer(store: Store) -> bool:
        raise ConfigurationError("A newer version of the program wrote it.")

    monkeypatch.setattr(console_desk, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(Store, "reopen", newer)
    await (await Store.open(tmp_path)).close()
    await asyncio.wait_for(desk().keep(tmp_path), 5)
