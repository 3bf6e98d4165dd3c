from pathlib import Path

from masa_node import console
from masa_node.console.files import FOLDER, read_files

STATIC = Path(str(console.__file__)).parent / FOLDER


def test_every_file_of_the_folder_is_read_and_no_other() -> None:
    there = {path.relative_to(STATIC).as_posix(): path for path in STATIC.rglob("*") if path.is_file()}
    assert read_files() == {name: path.read_bytes() for name, path in there.items()}
    assert "index.html" in there
