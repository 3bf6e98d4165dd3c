import io

import msgspec
import pytest
from rich.console import Console

from masa_node.cli.devnet import DevnetForPeople, DevnetForPrograms
from masa_node.devnet.nodes import DevnetNode
from masa_node.devnet.run import Devnet
from masa_node.staking.ethereum.crypto import parse_address

OWNER = parse_address("0x" + "11" * 20)


def node(name: str) -> DevnetNode:
    home = f"/tmp/a folder/{name}"  # noqa: S108 - only shown
    return DevnetNode(
        name, name * 8, OWNER, name != "c", name != "c", f"http://127.0.0.1:1{name}", home, f"{home}.json", home, {}
    )


DEVNET = Devnet("/f", "http://127.0.0.1:8545", 31337, OWNER, OWNER, "/f/p.toml", "word", [node(name) for name in "abc"])


def told(width: int) -> str:
    out = io.StringIO()
    DevnetForPeople(Console(file=out, width=width)).on_ready(DEVNET)
    return out.getvalue()


@pytest.mark.parametrize("width", [20, 200])
def test_what_is_copied_is_in_one_line_and_quoted_however_narrow_the_terminal_is(width: int) -> None:
    lines = [line.strip() for line in told(width).splitlines()]
    assert [line for line in lines if line.endswith(" up")] == [f"'/tmp/a folder/{name}' up" for name in "abc"]
    assert "'/tmp/a folder/c' stake deposit min --keystore '/tmp/a folder/c.json'" in lines


def test_keys_that_lie_in_plain_files_are_warned_of() -> None:
    assert "never use them on a real chain" in told(200)


def test_programs_get_all_of_it_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    DevnetForPrograms().on_ready(DEVNET)
    (line,) = capsys.readouterr().out.splitlines()
    assert msgspec.json.decode(line, type=Devnet) == DEVNET
