"""What can be asked: one `ModelOffer` is one model that one provider serves."""

from enum import StrEnum

import msgspec

from masa_node.chat.request import Endpoint

LATEST = ":latest"


class AnyName(StrEnum):
    """Does this model's server answer to any other name as well?"""

    NO = "no"
    SEEN = "seen"  # it is of a kind that does
    DECLARED = "declared"  # its owner says so


class ModelFacts(msgspec.Struct, frozen=True):
    """What clients show beside a model's name, in Ollama's words: `llama`, `8.0B`, `Q4_K_M`, `gguf`; "" and 0 if not
    known.
    """

    family: str = ""
    parameter_size: str = ""
    quantization: str = ""
    size_bytes: int = 0
    format: str = ""


NO_FACTS = ModelFacts()


class ModelOffer(msgspec.Struct, frozen=True):
    """A model as its LLM server lists it.

    `listing` is the server's own JSON entry, byte for byte. Unknown facts are None; `created_at_unix_s` is
    calendar time; `context_tokens` the context length in tokens; `capabilities` in the words of its server
    (`tools`, `vision`, `thinking`, ...). `alias_of` is what the model is really called, where lists name an alias.
    """

    model: str
    endpoints: frozenset[Endpoint]
    listing: bytes = b"{}"
    owned_by: str | None = None
    created_at_unix_s: int | None = None
    context_tokens: int | None = None
    capabilities: tuple[str, ...] = ()
    facts: ModelFacts = NO_FACTS
    any_name: AnyName = AnyName.NO
    alias_of: str | None = None


def same_model_key(model: str) -> str:
    """The key under which ids of the same model meet: Ollama's `tiny` and `tiny:latest` are one model."""
    return model.removesuffix(LATEST)


def loose_model_key(model: str) -> str:
    """The same, as Ollama reads what people type: case and the parts that it would add do not matter."""
    return same_model_key(model.strip().lower()).removeprefix("registry.ollama.ai/").removeprefix("library/")
