"""Starts the gateway in TensorZero's Python package, and writes where it listens: `tensorzero_gateway.py TOML FILE`.

Its threads are Rust's; this one sleeps. The package starts it in this way for clients of OpenAI.
"""

import signal
import sys
from pathlib import Path

from tensorzero import _start_http_gateway  # type: ignore[import-not-found]

gateway = _start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False
)
unfinished = Path(sys.argv[2] + ".part")
unfinished.write_text(gateway.base_url)
unfinished.replace(sys.argv[2])
signal.pause()
