"""Masa Node: one HTTP endpoint for any LLM. `ARCHITECTURE.md` is the map of this package.

The public Python API, which `docs/python.md` describes: `serve(settings)` starts a `Node` inside a program or a test.
Whatever else is imported from this package may change from one release to the next.
"""

from masa_node.version import __version__

__all__ = ["Node", "Settings", "__version__", "read_settings", "serve"]

TYPE_CHECKING = False  # `typing` has it, too, and takes longer to import than `masa-node version` needs in all
if TYPE_CHECKING:
    from masa_node.node.node import Node
    from masa_node.node.serve import serve
    from masa_node.node.settings.environment import Settings, read_settings
else:

    def __getattr__(name: str) -> object:
        """The public names are imported when they are first used: most commands need none of them."""
        match name:
            case "Settings" | "read_settings":
                from masa_node.node.settings import environment as module  # noqa: PLC0415
            case "Node":
                from masa_node.node import node as module  # noqa: PLC0415
            case "serve":
                from masa_node.node import serve as module  # noqa: PLC0415
            case _:
                raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(module, name)
