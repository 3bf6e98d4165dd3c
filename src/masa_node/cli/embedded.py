"""An LLM that the node brings itself, before the node starts: what `--llm` means, and fetching the model."""

from typing import TYPE_CHECKING

import msgspec

from masa_node.chat.errors import ConfigurationError
from masa_node.node.settings.environment import NO_LLM, Settings
from masa_node.node.settings.upstreams import upstream_specs
from masa_node.storage.extras import how_to_add
from masa_node.upstreams.embedded.fetch import fetch_smollm2
from masa_node.upstreams.embedded.model import EXTRA, SMOLLM2, find_model, runtime_is_installed
from masa_node.upstreams.spec import UpstreamKind

if TYPE_CHECKING:
    from masa_node.devnet.demo import DemoLlm


def with_an_llm(values: Settings) -> Settings:
    """The settings, with the small model unless they name another."""
    return values if values.llm not in ("", NO_LLM) else msgspec.structs.replace(values, llm=SMOLLM2)


def fetch_what_is_needed(values: Settings) -> None:
    """Fetch the small model if the settings name it and it is not here. Raises `ConfigurationError`."""
    named = {spec.url.lower() for spec in upstream_specs(values) if spec.kind is UpstreamKind.EMBEDDED}
    if SMOLLM2 in named and runtime_is_installed():
        fetch_smollm2()


def llm_of_demo(values: Settings) -> "DemoLlm":
    """What the demo's peers serve beside the echo: what LLM names, else the small model where it can be had.

    Raises `ConfigurationError` if LLM names what cannot be served.
    """
    from masa_node.devnet.demo import DemoLlm  # noqa: PLC0415 - `up` needs none of it

    if values.llm == NO_LLM:
        return DemoLlm("", "LLM=none")
    if values.llm:
        fetch_what_is_needed(values)
        find_model(values.llm)
        return DemoLlm(values.llm)
    if not runtime_is_installed():
        return DemoLlm("", f"llama.cpp is not installed: {how_to_add(EXTRA)}")
    try:
        fetch_smollm2()
    except ConfigurationError as exc:
        return DemoLlm("", exc.message)
    return DemoLlm(SMOLLM2)
