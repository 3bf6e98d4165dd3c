"""docs/protocol.md is enough: a reader that was written from it alone reads every vector.

Covers: `links.frames`.
"""

import ast
import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.network import independent_reader as reader

VECTORS = Path(__file__).parents[1] / "vectors" / "protocol"
SOURCE = Path(reader.__file__).read_text("utf-8")
Case = dict[str, Any]


def load(name: str, part: str) -> list[Any]:
    cases: list[Case] = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))[part]
    return [pytest.param(case, id=f"{name}-{case['name']}") for case in cases]


def in_json(value: object) -> object:
    """As a vector has it: bytes are base64."""
    match value:
        case bytes():
            return base64.b64encode(value).decode()
        case list():
            return [in_json(each) for each in value]
        case dict():
            return {key: in_json(each) for key, each in value.items()}
        case _:
            return value


@pytest.mark.parametrize("case", [*load("control", "frames"), *load("request", "frames")])
def test_a_frame_is_read(case: Case) -> None:
    ((request, kind, payload),) = reader.frames(bytes.fromhex(case["hex"]))
    assert (request, kind) == (int(kind in reader.OF_REQUEST.values()), case["kind"])
    if "payload" in case:
        assert payload == case["payload"].encode()
    else:
        assert in_json(reader.header(kind, payload)) == case["header"]


@pytest.mark.parametrize("case", load("control", "vouchers"))
def test_a_voucher_is_read(case: Case) -> None:
    ((_, kind, payload),) = reader.frames(bytes.fromhex(case["hex"]))
    assert reader.header(kind, payload) == case["voucher"]


@pytest.mark.parametrize("case", load("mux", "frames"))
def test_a_frame_on_a_channel_is_read(case: Case) -> None:
    ((request, kind, payload),) = reader.frames(bytes.fromhex(case["hex"]))
    assert (request, kind, payload) == (case["request"], case["kind"], bytes.fromhex(case["payload_hex"]))


@pytest.mark.parametrize("case", load("refused", "streams"))
def test_what_is_no_frame_is_a_breach(case: Case) -> None:
    with pytest.raises(reader.Breach):
        list(reader.frames(bytes.fromhex(case["hex"])))


@pytest.mark.parametrize("case", load("refused", "headers"))
def test_what_is_no_header_is_a_breach(case: Case) -> None:
    with pytest.raises(reader.Breach):
        reader.header(case["kind"], bytes.fromhex(case["hex"]))


def test_a_kind_that_need_not_be_known_is_passed_over() -> None:
    assert list(reader.frames(b"\0\0\0\x09\xc8\0\0\x01x")) == [(9, "IGNORED", b"x")]


def test_it_imports_nothing_but_the_standard_library() -> None:
    imported = {
        name.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(ast.parse(SOURCE))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names
    assert len(SOURCE.splitlines()) < 200
