"""The `masa-node` command: argv to settings to node, and what people read.

Primitives: `main.app` (the commands), `peers` and `stake` (those about peers and stake), `output` (how results are
written).
"""

import gc
import sys

gc.set_threshold(20_000, 20, 20)  # imports leave no garbage; the default looks for some a hundred times meanwhile


def _import_structlog() -> None:
    """Without rich, all of which it imports otherwise, for tracebacks that `telemetry.log` never draws."""
    if "rich" in sys.modules:
        return
    sys.modules["rich"] = None  # type: ignore[assignment] # pyright: ignore[reportArgumentType] - "there is none"
    import structlog  # noqa: F401, PLC0415 # pyright: ignore[reportUnusedImport]

    del sys.modules["rich"]


_import_structlog()
