#!/usr/bin/env python3
"""llama.cpp's server out of PyPI's xllamacpp, with the options of `llama-server` that the tests use.

    llama_server.py --model FILE.gguf --alias NAME --port 8081 --parallel 4 --ctx-size 16384

The wheel is pinned by hash (requirements/llm.txt), which Debian's moving packages (get_llama_server.sh) are not.
Runs until it is killed, and listens on 127.0.0.1 only.
"""

import argparse
import signal
from pathlib import Path

import xllamacpp

LOG_ERRORS_AND_MORE = 3


def main() -> None:
    """Serve the model that the command line names."""
    options = _arguments().parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = str(options.model)
    params.model_alias = {options.alias}
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.n_parallel = options.parallel
    params.n_ctx = options.ctx_size
    params.n_batch = options.batch_size
    params.n_ubatch = min(params.n_ubatch, options.batch_size)
    params.ctx_shift = options.context_shift
    params.cache_prompt = options.cache_prompt
    params.cpuparams.n_threads = options.threads
    params.cpuparams_batch.n_threads = options.threads
    params.endpoint_slots = True
    params.use_jinja = True
    params.ui = False
    params.offline = True
    params.verbosity = LOG_ERRORS_AND_MORE
    server = xllamacpp.Server(params)  # returns once the model is loaded
    print(f"listening on {server.listening_address}", flush=True)
    signal.pause()


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--alias", required=True, help="the model's name")
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--parallel", type=int, default=1, help="slots")
    parser.add_argument("--ctx-size", type=int, default=4096, help="tokens, divided among the slots")
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--context-shift", action="store_true", help="forget the oldest tokens instead of ending")
    parser.add_argument("--no-cache-prompt", dest="cache_prompt", action="store_false")
    parser.add_argument("--threads", type=int, default=1)
    return parser


if __name__ == "__main__":
    main()
