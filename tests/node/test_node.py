from pathlib import Path

import pytest

from masa_node.node.node import Node
from masa_node.node.settings.environment import Settings
from masa_node.upstreams.embedded import model as embedded_model
from masa_node.upstreams.http.client import HttpClient
from masa_node.upstreams.spec import UpstreamKind, UpstreamSpec


async def test_its_settings_reach_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_model, "runtime_is_installed", lambda: True)
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"GGUF")
    async with HttpClient() as http:
        node = Node(Settings(masa_dir="/nowhere", llm_context=512, llm_threads=3), http)
        node.add_spec(UpstreamSpec("embedded", UpstreamKind.EMBEDDED, str(path)))
        (llm,) = node.embedded
        assert [offer.model for _, offer in node.catalog.all_offers()] == ["tiny"]  # and not any name, while it loads
        assert node.catalog.unlisted == ()
    options = llm.options("k")
    assert (options.model_path, options.model_id, options.key) == (str(path), "tiny", "k")
    assert (options.context_tokens, options.threads) == (512, 3)
