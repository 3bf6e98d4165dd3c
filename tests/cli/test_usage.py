"""`masa-node usage`: for people, as JSON and as CSV, without a node that runs."""

import asyncio
import csv
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from masa_node.accounts.ledger import FILE_NAME, Ledger
from masa_node.cli.main import main
from masa_node.storage.extras import how_to_add
from tests.api.raw_http import ask_once, chat, post
from tests.api.serving import ServingNode
from tests.fakes.no_server import closed_port
from tests.fakes.outcomes import by_peer, outcome


async def counted(masa_dir: Path) -> None:
    ledger = Ledger(masa_dir / FILE_NAME)
    for each in (
        outcome(key="alice"),
        outcome(key="alice", input_tokens=None, output_tokens=None, model="n"),
        outcome(key="alice", output_tokens=None),
        outcome(requester="p" * 64, model="=HYPERLINK()"),
        by_peer("q" * 64, model="[red]m\x1b[31m"),
    ):
        ledger.observe(each)
    running = asyncio.ensure_future(ledger.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])


@pytest.fixture
def masa_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASA_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    asyncio.run(counted(tmp_path))
    return tmp_path


def run(*arguments: str, monkeypatch: pytest.MonkeyPatch, code: int = 0) -> None:
    monkeypatch.setattr("sys.argv", ["masa-node", "usage", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert (ended.value.code or 0) == code


def out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


@pytest.mark.usefixtures("masa_dir")
def test_people_see_a_table_in_which_unknown_is_unknown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("--by", "key,model", monkeypatch=monkeypatch)
    rows = [line.split() for line in out(capsys).splitlines()]
    assert rows[0][:3] == ["key", "model", "requests"]
    assert ["alice", "n", "1", "0", "unknown", "unknown"] in [row[:6] for row in rows]
    assert ["alice", "m", "2", "0", "14", "5", "(+1", "unknown)"] in [row[:8] for row in rows]


@pytest.mark.usefixtures("masa_dir")
def test_a_models_name_cannot_steer_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("--by", "model", monkeypatch=monkeypatch)
    assert "[red]m?[31m" in out(capsys)


@pytest.mark.usefixtures("masa_dir")
def test_programs_read_json_with_null_for_unknown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("--by", "peer,day", "--json", monkeypatch=monkeypatch)
    lines = json.loads(out(capsys))
    assert {(line["peer"], line["use"], line["requests"]) for line in lines} == {
        ("", "own", 3),
        ("p" * 64, "theirs", 1),
        ("q" * 64, "ours", 1),
    }
    run("--by", "model", "--json", monkeypatch=monkeypatch)
    assert {line["model"]: line["input_tokens"] for line in json.loads(out(capsys))}["n"] is None


@pytest.mark.usefixtures("masa_dir")
def test_spreadsheets_read_csv_and_take_no_name_for_a_formula(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("--by", "model", "--csv", monkeypatch=monkeypatch)
    rows = {row["model"]: row for row in csv.DictReader(io.StringIO(out(capsys)))}
    assert rows["n"]["input_tokens"] == ""
    assert rows["m"]["input_tokens"] == "14"
    assert "'=HYPERLINK()" in rows


@pytest.fixture
def vendors(masa_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger's server `llm` is a vendor's, which has no model of these names but one."""
    del masa_dir
    monkeypatch.setenv("LLM_CHAT_URL", "https://api.openai.com/v1")


async def counted_of_a_vendor(masa_dir: Path) -> None:
    ledger = Ledger(masa_dir / FILE_NAME)
    ledger.observe(outcome(key="alice", model="gpt-4o", input_tokens=1_000_000, output_tokens=100_000))
    running = asyncio.ensure_future(ledger.run())
    await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait([running])


@pytest.mark.usefixtures("vendors")
def test_costs_are_a_column_in_which_unknown_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asyncio.run(counted_of_a_vendor(tmp_path))
    run("--by", "model", "--cost", monkeypatch=monkeypatch)
    rows = out(capsys).splitlines()
    assert rows[0].split()[-1] == "cost"
    assert {row.split()[0]: row.split()[-1] for row in rows[1:]}["gpt-4o"] == "$3.50"
    assert {row.split()[0]: row.split()[-1] for row in rows[1:]}["n"] == "unknown"
    run("--by", "key", "--cost", monkeypatch=monkeypatch)
    assert "$3.50 (+3 unknown)" in out(capsys)
    run("--by", "model", "--cost", "--json", monkeypatch=monkeypatch)
    lines = {line["model"]: line for line in json.loads(out(capsys))}
    assert (lines["gpt-4o"]["cost_usd"], lines["gpt-4o"]["cost_unknown"]) == (3.5, 0)
    assert (lines["n"]["cost_usd"], lines["n"]["cost_unknown"]) == (None, 1)
    run("--by", "model", "--cost", "--csv", monkeypatch=monkeypatch)
    table = {row["model"]: row for row in csv.DictReader(io.StringIO(out(capsys)))}
    assert (table["gpt-4o"]["cost_usd"], table["n"]["cost_usd"], table["n"]["cost_unknown"]) == ("3.5", "", "1")


@pytest.mark.usefixtures("masa_dir")
def test_without_the_extra_costs_are_refused_and_all_else_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    monkeypatch.setattr("sys.argv", ["masa-node", "usage", "--cost"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert how_to_add("prices") in capsys.readouterr().err
    run("--csv", monkeypatch=monkeypatch)
    assert "cost" not in out(capsys)


def test_of_nothing_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASA_DIR", str(tmp_path / "none"))
    run(monkeypatch=monkeypatch)
    assert out(capsys) == "Nothing was counted in this time.\n"
    assert not (tmp_path / "none").exists()


@pytest.mark.usefixtures("masa_dir")
def test_while_the_disk_is_full_it_says_that_there_may_be_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    run(monkeypatch=monkeypatch)
    told = capsys.readouterr()
    assert "alice" in told.out
    assert "is full. What a node counts meanwhile is in its memory" in told.err


@pytest.fixture
def unusable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A MASA_DIR that is a file."""
    path = tmp_path / "file"
    path.touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MASA_DIR", str(path))
    return path


def test_a_node_that_cannot_write_is_asked_what_it_has_counted(
    unusable: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with ServingNode(unusable.parent, {"MASA_DIR": str(unusable), "NETWORK": "off", "API_KEY": "secret"}) as node:
        reply = asyncio.run(ask_once(node.port, post(chat(), b"Authorization: Bearer secret\r\n")))
        assert reply.status == 200
        monkeypatch.setenv("PORT", str(node.port))
        monkeypatch.setenv("API_KEY", "secret")
        url = f"http://127.0.0.1:{node.port}"
        run("--by", "model", "--json", "--url", url, monkeypatch=monkeypatch)
        (line,) = json.loads(out(capsys))
        assert (line["model"], line["requests"]) == ("masa-demo", 1)
        run(monkeypatch=monkeypatch)
        told = capsys.readouterr()
        assert told.out == "It is not known what was counted.\n"
        assert "without API_KEY: " in told.err
        assert told.err.endswith(f"answered 401. If it is yours, name it: --url {url}\n")


def test_where_no_node_listens_none_is_named(
    unusable: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unusable.is_file()
    monkeypatch.setenv("PORT", str(closed_port()))
    run(monkeypatch=monkeypatch)
    told = capsys.readouterr().err
    assert "no node listens there" in told
    assert "LLM server" not in told
    assert "If it is yours" not in told


def test_a_node_that_is_named_and_does_not_say_is_told_of(
    unusable: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"http://127.0.0.1:{closed_port()}"
    run("--url", url, monkeypatch=monkeypatch, code=1)
    assert f"{url}: no node listens there. Start it with `masa-node up`" in capsys.readouterr().err
    run("--url", "nowhere", monkeypatch=monkeypatch, code=2)
    assert "--url: 'nowhere' is not the address of a node." in capsys.readouterr().err


def test_where_nobody_can_say_what_was_counted_it_says_that(
    unusable: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = closed_port()
    monkeypatch.setenv("PORT", str(port))
    run(monkeypatch=monkeypatch)
    told = capsys.readouterr()
    assert told.out == "It is not known what was counted.\n"
    assert f"MASA_DIR {unusable} cannot be used: Not a directory." in told.err
    assert f"at http://127.0.0.1:{port} none could be asked" in told.err


@pytest.mark.parametrize(("option", "value"), [("--by", "cost"), ("--since", "soon")])
def test_an_option_that_is_not_understood_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["masa-node", "usage", option, value])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert f"{option}: {value!r} is not valid" in capsys.readouterr().err
