"""The files of the console, as they lie in the package: read once, at the start of a node."""

from pathlib import Path

FOLDER = Path(__file__).parent / "static"


def read_files() -> dict[str, bytes]:
    """Every file by its path below `static`, with `/` between folders. Blocking. Hidden ones are left out."""
    found = (path for path in FOLDER.rglob("*") if path.is_file())
    names = {path.relative_to(FOLDER).as_posix(): path for path in found}
    return {name: path.read_bytes() for name, path in names.items() if not _is_hidden(name)}


def _is_hidden(name: str) -> bool:
    return any(part.startswith((".", "__")) for part in name.split("/"))
