"""The files of the console, as they lie in the package: read once, at the start of a node."""

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

FOLDER = "static"


def read_files() -> dict[str, bytes]:
    """Every file by its path below `static`, with `/` between folders. Blocking. Hidden ones are left out."""
    return dict(_files_in(files("masa_node.console").joinpath(FOLDER), ""))


def _files_in(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for each in folder.iterdir():
        if each.name.startswith((".", "__")):
            continue
        if each.is_dir():
            yield from _files_in(each, f"{prefix}{each.name}/")
        else:
            yield prefix + each.name, each.read_bytes()
