from masa_node.console.files import FOLDER, read_files


def test_every_file_of_the_folder_is_read_and_no_other() -> None:
    there = {path.relative_to(FOLDER).as_posix(): path for path in FOLDER.rglob("*") if path.is_file()}
    assert read_files() == {name: path.read_bytes() for name, path in there.items()}
    assert "index.html" in there
