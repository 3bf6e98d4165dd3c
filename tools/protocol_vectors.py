"""Writes the bytes of the protocol's test vectors again, from what stands beside them in words.

`python -m tools.protocol_vectors`, after a change of the protocol; docs/protocol.md says the same in English.
"""

import json
from pathlib import Path
from typing import Any

import msgspec

from masa_node.network.links.control import Beat, Hello, Refused
from masa_node.network.links.frames import FrameKind, frame, header_payload
from masa_node.network.links.vouchers import make_voucher
from masa_node.network.requests.frames import Alive, AnswerEnd, AnswerHead, RequestFailure, RequestHeader
from masa_node.network.transport.interfaces import NodeId
from masa_node.network.transport.iroh.keys import IrohKeys

VECTORS = Path(__file__).parents[1] / "tests" / "vectors" / "protocol"
FORMS: dict[str, type[msgspec.Struct]] = {
    "REQUEST": RequestHeader,
    "HEAD": AnswerHead,
    "END": AnswerEnd,
    "FAIL": RequestFailure,
    "ALIVE": Alive,
    "HELLO": Hello,
    "WELCOME": Hello,
    "REFUSED": Refused,
    "PING": Beat,
    "PONG": Beat,
}


def frame_of(case: dict[str, Any]) -> bytes:
    """The frame that a vector's words describe."""
    kind = FrameKind[case["kind"]]
    number = case.get("request", kind >= FrameKind.REQUEST)  # the first of a channel, or the control stream
    if "payload_hex" in case:
        return frame(kind, bytes.fromhex(case["payload_hex"]), number)
    if "payload" in case:
        return frame(kind, case["payload"].encode(), number)
    return frame(kind, header_payload(kind, msgspec.convert(case["header"], FORMS[case["kind"]])), number)


def voucher_frame_of(case: dict[str, Any]) -> bytes:
    """The same for a signed voucher."""
    voucher, signer = case["voucher"], IrohKeys(bytes.fromhex(case["secret_of_signer"]))
    return frame(FrameKind.VOUCH, make_voucher(NodeId(voucher["member"]), signer, voucher["issued_at_unix_s"]))


def main() -> None:
    """Write them all."""
    for name in ("control", "mux", "request"):
        path = VECTORS / f"{name}.json"
        vectors = json.loads(path.read_text("utf-8"))
        for case in vectors["frames"]:
            case["hex"] = frame_of(case).hex()
        for case in vectors.get("vouchers", ()):
            case["hex"] = voucher_frame_of(case).hex()
        path.write_text(json.dumps(vectors, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    main()
