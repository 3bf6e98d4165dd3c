"""What of the owner's settings the demo uses. `tests/cli/test_main.py` runs it."""

import asyncio
from pathlib import Path

import pytest

from masa_node.devnet import demo
from masa_node.devnet.demo import DemoLlm, run_demo
from masa_node.node.settings.environment import Settings

OWNERS = Settings(
    port=9999,
    api_key="callers-key",
    llm_chat_url="http://10.0.0.7:11434",
    openai_api_key="sk-owner",
    masa_dir="/home/owner/masa",
    bootnodes="b" * 64,
    stake_providers="require",
    network="off",
)


def test_only_where_to_listen_and_who_may_ask_is_the_owners(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Settings] = []
    config: list[bytes] = []

    async def fake_run(settings: Settings, *_: object, **__: object) -> None:
        started.append(settings)
        config.append(await asyncio.to_thread(Path(settings.masa_config).read_bytes))

    monkeypatch.setattr(demo, "run", fake_run)
    asyncio.run(run_demo(OWNERS, DemoLlm(""), None, lambda *_: None))  # type: ignore[arg-type]
    (first,) = started
    assert config == [b""], "no file of the owner's is looked for"
    assert (first.port, first.api_key) == (9999, "callers-key")
    assert (first.llm_chat_url, first.openai_api_key, first.bootnodes, first.stake_providers) == ("", "", "", "")
    assert not first.find_local
    assert (first.network, first.peer_host) == ("on", "127.0.0.1")
    assert not Path(first.masa_dir).exists(), "its folder ends with it"
    assert first.masa_dir != OWNERS.masa_dir
