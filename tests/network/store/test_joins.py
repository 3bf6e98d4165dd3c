import time
from pathlib import Path

import pytest

from masa_node.network.store import joins
from masa_node.network.store.joins import REFUSAL_KEPT_S, keep_obstacle, keep_refusal, obstacle, refusal
from masa_node.network.store.store import Store


async def test_a_refusal_is_remembered_for_a_day_or_until_its_owner_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await Store.open(tmp_path)
    assert await refusal(store) == ""
    await keep_refusal(store, "the invite is used up.")
    assert await refusal(store) == "the invite is used up."
    later_unix_s = time.time() + REFUSAL_KEPT_S + 1
    with monkeypatch.context() as patch:
        patch.setattr(joins.time, "time", lambda: later_unix_s)
        assert await refusal(store) == ""
    await keep_refusal(store, "")
    assert await refusal(store) == ""
    await store.close()


async def test_what_is_in_the_way_of_a_join_is_known_while_it_is_tried(tmp_path: Path) -> None:
    store = await Store.open(tmp_path)
    await keep_obstacle(store, "no connection within 5 s.")
    assert await obstacle(store) == "no connection within 5 s."
    await keep_obstacle(store, "")
    assert await obstacle(store) == ""
    await store.close()


@pytest.mark.parametrize("garbage", [b"\xff\xff", b"soon it was refused", b"99"])
async def test_garbage_in_the_store_is_no_refusal(tmp_path: Path, garbage: bytes) -> None:
    store = await Store.open(tmp_path)
    await store.set_value("join_refused", garbage)
    assert await refusal(store) == ""
    await store.close()
