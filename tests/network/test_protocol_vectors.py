"""Covers: `links.control`, `links.frames`, `links.vouchers`, `requests.frames`."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from masa_node.chat.errors import ProtocolFault, ProviderError
from masa_node.chat.headers import FROM_PEERS, TO_PEERS
from masa_node.network.links.control import RefusalCode
from masa_node.network.links.frames import HEAD_BYTES, FrameKind, FrameReader, read_head, read_header
from masa_node.network.links.vouchers import Voucher, make_voucher, open_voucher
from masa_node.network.transport.interfaces import NodeId
from masa_node.network.transport.iroh.keys import IrohKeys
from tools.protocol_vectors import FORMS, frame_of

VECTORS = Path(__file__).parents[1] / "vectors" / "protocol"
PROTOCOL = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
Case = dict[str, Any]


def load(name: str, part: str) -> list[Any]:
    cases: list[Case] = json.loads((VECTORS / f"{name}.json").read_text("utf-8"))[part]
    return [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.parametrize("case", [*load("request", "frames"), *load("control", "frames")])
def test_a_vector_is_written_and_read_as_it_stands(case: Case) -> None:
    raw, kind = bytes.fromhex(case["hex"]), FrameKind[case["kind"]]
    number, found, length = read_head(raw, 0)
    payload = raw[HEAD_BYTES:]
    assert (found, length) == (kind, len(payload))
    assert number == (kind >= FrameKind.REQUEST)
    assert frame_of(case) == raw
    if "payload" in case:
        assert payload == case["payload"].encode()
    else:  # bytes stand as base64 in JSON
        assert read_header(payload, FORMS[case["kind"]]) == msgspec.convert(case["header"], FORMS[case["kind"]])


@pytest.mark.parametrize("case", load("refused", "streams"))
def test_what_is_no_frame_is_refused(case: Case) -> None:
    with pytest.raises(ProtocolFault):
        read_head(bytes.fromhex(case["hex"]), 0)
    with pytest.raises(ProtocolFault):
        list(FrameReader().feed(bytes.fromhex(case["hex"])))


@pytest.mark.parametrize("case", load("refused", "headers"))
def test_what_is_no_header_of_its_kind_is_refused(case: Case) -> None:
    with pytest.raises(ProtocolFault):
        read_header(bytes.fromhex(case["hex"]), FORMS[case["kind"]])


@pytest.mark.parametrize("case", load("control", "vouchers"))
def test_a_voucher_is_signed_and_read_as_it_stands(case: Case) -> None:
    signer = IrohKeys(bytes.fromhex(case["secret_of_signer"]))
    ((kind, signed),) = FrameReader().feed(bytes.fromhex(case["hex"]))
    voucher = msgspec.convert(case["voucher"], Voucher)
    assert (kind, open_voucher(signed, signer, case["at_unix_s"])) == (FrameKind.VOUCH, voucher)
    assert make_voucher(NodeId(voucher.member), signer, voucher.issued_at_unix_s) == signed
    for location in range(len(signed)):  # nothing of it can be changed
        with pytest.raises(ProtocolFault):
            open_voucher(
                bytes([*signed[:location], signed[location] ^ 1, *signed[location + 1 :]]), signer, case["at_unix_s"]
            )


@pytest.mark.parametrize("code", RefusalCode)
def test_every_refusal_is_described(code: RefusalCode) -> None:
    assert f"`{code}`" in PROTOCOL


@pytest.mark.parametrize("kind", FrameKind)
def test_every_kind_of_frame_is_described(kind: FrameKind) -> None:
    assert f"| {kind.value} | {kind.name} |" in PROTOCOL


@pytest.mark.parametrize("form", FORMS.values(), ids=lambda form: form.__name__)
def test_every_field_is_described(form: type[msgspec.Struct]) -> None:
    for name in form.__struct_fields__:
        assert f"| `{name}` |" in PROTOCOL


@pytest.mark.parametrize("name", sorted(TO_PEERS | FROM_PEERS))
def test_every_header_that_crosses_is_described(name: str) -> None:
    assert f"`{name}`" in PROTOCOL


def test_every_code_that_becomes_an_error_of_its_own_is_described() -> None:
    from masa_node.network.requests.errors import CODES  # noqa: PLC0415 - beside what is checked

    assert all(issubclass(error, ProviderError) for error in CODES.values())
    for code in CODES:
        assert f"| `{code}` |" in PROTOCOL
