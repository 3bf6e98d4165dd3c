"""Every block of commands in the documentation does what it says."""

import shutil
from collections.abc import Iterator

import pytest

from tests.docs.pages import Block, blocks_in
from tests.docs.world import World
from tests.staking.anvil_chain import program


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world"), str(program())) as made:
        yield made


def test_there_are_programs_that_the_pages_use() -> None:
    assert [name for name in ("bash", "curl", "make") if shutil.which(name) is None] == []


@pytest.mark.parametrize("block", blocks_in("sh"), ids=str)
def test_a_block_of_commands_works_as_it_stands(block: Block, world: World) -> None:
    world.type(block.text)


@pytest.mark.parametrize("block", blocks_in("python"), ids=str)
def test_a_block_of_python_works_as_it_stands_and_prints_the_answer(block: Block, world: World) -> None:
    assert world.run_python(block.text).strip()
