"""The `masa-node` command: argv to settings to node, and what people read.

Primitives: `main.app` (the commands), `peers` and `stake` (those about peers and stake), `output` (how results are
written).
"""

import gc
import sys

gc.set_threshold(20_000, 20, 20)  # imports leave no garbage; the default looks for some a hundred times meanwhile


def _import_structlog() -> None:
    """Without what else it imports where that is installed: rich is for tracebacks that `telemetry.log` never draws."""
    absent = [name for name in ("rich", "greenlet") if name not in sys.modules]
    for name in absent:
        sys.modules[name] = None  # type: ignore[assignment] # pyright: ignore[reportArgumentType] - "there is none"
    import structlog  # noqa: F401, PLC0415 # pyright: ignore[reportUnusedImport]

    for name in absent:
        del sys.modules[name]


_import_structlog()
