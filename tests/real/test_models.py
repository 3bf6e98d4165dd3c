"""The model files: the known answers that all other tests here stand on."""

from pathlib import Path

import pytest
from llama_server import models


@pytest.mark.parametrize("name", ["count", "utf8", "tool", "babble"])
def test_a_model_is_written_the_same_each_time(tmp_path: Path, name: str) -> None:
    first, second = (models()[name].write_into(tmp_path / folder) for folder in ("first", "second"))
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
