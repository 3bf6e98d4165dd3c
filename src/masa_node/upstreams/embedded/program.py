"""The program of an embedded LLM's process: llama.cpp's server, out of the package xllamacpp, on a port of its own.

    python -m masa_node.upstreams.embedded.program

Reads its options, one line of JSON, from standard input; prints its address, one line of JSON. It ends when its input
does, so it never outlives the node: the system closes the other end however the node ends. Loading a model cannot be
interrupted; then it ends once that is done.
"""

import importlib
import os
import sys
from typing import Any

import msgspec

RUNTIME = "xllamacpp"  # the package

SLOTS = 4  # answers under way at once; they share the context, so that one alone can have all of it
HTTP_THREADS = 64  # one a connection; requests beyond that wait unread, as they would wait for a slot anyway
PROMPT_CACHE_MIB = 64  # of prompts seen before; llama.cpp's own default is 8 GiB
_LOG_ERRORS = 1


class EmbeddedModel(msgspec.Struct, frozen=True):
    """A file that can be served, and how. `threads` 0 leaves their number to the node.

    `key` is what its process demands of callers: other users of the machine, and web pages.
    """

    path: str
    model_id: str
    key: str = ""
    context_tokens: int = 8192
    threads: int = 0
    temperature: float | None = None  # None: llama.cpp's own default, as below
    max_tokens: int | None = None  # of an answer whose caller has set no limit

    def __repr__(self) -> str:
        return f"EmbeddedModel(path={self.path!r})"


class Listening(msgspec.Struct, frozen=True):
    """The line that it prints when the model is loaded."""

    address: str


def main() -> None:
    """Serve until standard input ends. Exits with 1 when the model cannot be loaded; llama.cpp then has said why."""
    options = msgspec.json.decode(sys.stdin.buffer.readline(), type=EmbeddedModel)
    try:
        server = _serve(options)
    except RuntimeError:
        sys.exit(1)
    sys.stdout.buffer.write(msgspec.json.encode(Listening(server.listening_address)) + b"\n")
    sys.stdout.buffer.flush()
    sys.stdin.buffer.read()
    os._exit(0)  # at once: nobody is left to wait for the answers under way


def _serve(options: EmbeddedModel) -> Any:  # noqa: ANN401 - a class of an untyped package
    runtime = importlib.import_module(RUNTIME)
    params = runtime.CommonParams()
    params.model.path = options.path
    params.model_alias = {options.model_id}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.api_keys = [options.key]
    params.n_ctx = options.context_tokens
    params.n_parallel = SLOTS
    params.kv_unified = True
    params.n_threads_http = HTTP_THREADS
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.verbosity = _LOG_ERRORS
    if options.temperature is not None:
        params.sampling.temp = options.temperature
    if options.max_tokens is not None:
        params.n_predict = options.max_tokens
    for name, value in (("ui", False), ("offline", True), ("cors_origins", "")):
        if hasattr(params, name):  # not in every version that can be installed
            setattr(params, name, value)
    return runtime.Server(params)  # loads the model


if __name__ == "__main__":
    main()
