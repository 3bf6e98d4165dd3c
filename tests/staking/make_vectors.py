"""Makes tests/vectors/staking/*.json with eth-account, which knows nothing of our code.

    python -m tests.staking.make_vectors

`test_delegation.py` asserts that the files are what this makes, and that our code makes and takes the same.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils.crypto import keccak

FOLDER = Path(__file__).parents[1] / "vectors" / "staking"
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SECRET = bytes(range(1, 33))  # for everyone to try; never put anything on it
OWNER = Account.from_key(SECRET).address
OTHER_SECRET = bytes(range(2, 34))
CONTRACT = "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb"
OTHER_CONTRACT = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
NODE_KEY = "03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8"
FROM_S = 1_800_000_000
DAY_S = 86400
TYPES = {
    "EIP712Domain": [
        {"name": "name", "type": "string"},
        {"name": "version", "type": "string"},
        {"name": "chainId", "type": "uint256"},
        {"name": "verifyingContract", "type": "address"},
    ],
    "NodeDelegation": [
        {"name": "nodeKey", "type": "bytes32"},
        {"name": "epoch", "type": "uint64"},
        {"name": "notBefore", "type": "uint64"},
        {"name": "notAfter", "type": "uint64"},
    ],
}
Fields = dict[str, Any]


def fields(**changes: object) -> Fields:
    """A good delegation's, but for what is changed."""
    return {
        "owner": OWNER,
        "node_key": NODE_KEY,
        "epoch": 0,
        "not_before_unix_s": FROM_S,
        "not_after_unix_s": FROM_S + 90 * DAY_S,
        "chain_id": 11155111,
        "contract": CONTRACT,
    } | changes


def typed_data(about: Fields) -> Fields:
    return {
        "types": TYPES,
        "primaryType": "NodeDelegation",
        "domain": {
            "name": "Masa Node Staking",
            "version": "1",
            "chainId": about["chain_id"],
            "verifyingContract": about["contract"],
        },
        "message": {
            "nodeKey": "0x" + about["node_key"],
            "epoch": str(about["epoch"]),
            "notBefore": str(about["not_before_unix_s"]),
            "notAfter": str(about["not_after_unix_s"]),
        },
    }


def signed(about: Fields, secret: bytes = SECRET) -> bytes:
    return bytes(Account.sign_typed_data(secret, full_message=typed_data(about)).signature)


def wire(about: Fields, signature: bytes, **more: object) -> bytes:
    """The map, as docs/protocol.md has it."""
    raw = {"owner": bytes.fromhex(about["owner"][2:]), "node_key": bytes.fromhex(about["node_key"])}
    contract = {"contract": bytes.fromhex(about["contract"][2:]), "signature": signature}
    return msgspec.msgpack.encode(about | raw | contract | more)


def made(name: str, about: Fields) -> Fields:
    data, signature = typed_data(about), signed(about)
    message = encode_typed_data(full_message=data)
    return {
        "name": name,
        "delegation": about,
        "typed_data": data,
        "domain_separator": message.header.hex(),
        "struct_hash": message.body.hex(),
        "digest": keccak(b"\x19" + message.version + message.header + message.body).hex(),
        "signature": signature.hex(),
        "bytes": wire(about, signature).hex(),
    }


def case(name: str, data: bytes, **changes: object) -> Fields:
    """One delegation that is shown: by which key, where stakes are, when."""
    shown = {"presented_by": NODE_KEY, "chain_id": 11155111, "contract": CONTRACT, "at_unix_s": FROM_S + DAY_S}
    return {"name": name, "bytes": data.hex()} | shown | changes


def high_s(signature: bytes) -> bytes:
    """The other signature that the same key could have made."""
    s = ORDER - int.from_bytes(signature[32:64])
    return signature[:32] + s.to_bytes(32) + bytes([55 - signature[64]])


def accepted() -> list[Fields]:
    about = fields()
    good, signature = wire(about, signed(about)), signed(about)
    by_parity = wire(about, signature[:64] + bytes([signature[64] - 27]))
    swapped = msgspec.msgpack.encode(dict(reversed(msgspec.msgpack.decode(good).items())))
    return [
        case("a good one", good),
        case("v is 0 or 1", by_parity),
        case("keys in another order", swapped),
        case("says that it is no contract's", wire(about, signature, is_contract=False)),
        case("a clock 300 s behind", good, at_unix_s=FROM_S - 300),
        case("a clock less than 300 s ahead", good, at_unix_s=FROM_S + 90 * DAY_S + 299),
        case("a contract's: the chain is asked", wire(about, b"", is_contract=True)),
    ]


def refused() -> list[Fields]:
    """`why` names the check that fails."""
    return [case(name, data, **changes, why=why) for why, name, data, changes in [*_refused_bytes(), *_refused_shown()]]


def _refused_bytes() -> list[tuple[str, str, bytes, Fields]]:
    about, signature = fields(), signed(fields())
    good, long, never = (
        wire(about, signature),
        fields(not_after_unix_s=FROM_S + 90 * DAY_S + 1),
        {"not_before_unix_s": 0},
    )
    unsigned = msgspec.msgpack.encode({k: v for k, v in msgspec.msgpack.decode(good).items() if k != "signature"})
    zero = fields(node_key="00" * 32)
    backwards = fields(not_before_unix_s=FROM_S + 1, not_after_unix_s=FROM_S)
    return [
        ("form", "nothing", b"", {}),
        ("form", "no map", b"\x93\x01\x02\x03", {}),
        ("form", "cut", good[:-1], {}),
        ("form", "one byte more", good + b"\x00", {}),
        ("form", "an unknown key", wire(about, signature, amount=1), {}),
        ("form", "a missing key", unsigned, {}),
        ("form", "an owner of 19 bytes", wire(about, signature, owner=b"1" * 19), {}),
        ("form", "a number as text", wire(about, signature, epoch="0"), {}),
        ("form", "too long", wire(about, b"s" * 1024, is_contract=True), {}),
        ("form", "a negative epoch", wire(about, signature, epoch=-1), {}),
        ("form", "chain 0", wire(about, signature, chain_id=0), {"chain_id": 0}),
        ("form", "a key of zeros", wire(zero, signed(zero)), {"presented_by": "00" * 32}),
        ("form", "ends before it begins", wire(backwards, signed(backwards)), {}),
        ("lifetime", "a second longer than 90 days", wire(long, signed(long)), {}),
        ("lifetime", "for ever", wire(about | never, signed(about | never)), {}),
        ("signature", "high s", wire(about, high_s(signature)), {}),
        ("signature", "64 bytes", wire(about, signature[:64]), {}),
        ("signature", "66 bytes", wire(about, signature + b"\x00"), {}),
        ("signature", "v is 29", wire(about, signature[:64] + b"\x1d"), {}),
        ("signature", "r is 0", wire(about, bytes(32) + signature[32:]), {}),
        ("signature", "another signed it", wire(about, signed(about, OTHER_SECRET)), {}),
        ("signature", "another's stake", wire(about | {"owner": OTHER_CONTRACT}, signature), {}),
        ("signature", "the epoch was raised", wire(about | {"epoch": 1}, signature), {}),
        ("signature", "the end was changed", wire(about | {"not_after_unix_s": FROM_S + 89 * DAY_S}, signature), {}),
        ("signature", "signed for another key", wire(about, signed(fields(node_key="11" * 32))), {}),
        ("signature", "signed for another chain", wire(about, signed(fields(chain_id=1))), {}),
        ("signature", "signed for another contract", wire(about, signed(fields(contract=OTHER_CONTRACT))), {}),
    ]


def _refused_shown() -> list[tuple[str, str, bytes, Fields]]:
    good = wire(fields(), signed(fields()))
    return [
        ("key", "another node shows it", good, {"presented_by": "11" * 32}),
        ("chain", "stakes are on another chain", good, {"chain_id": 1}),
        ("contract", "stakes are in another contract", good, {"contract": OTHER_CONTRACT}),
        ("early", "not yet in force", good, {"at_unix_s": FROM_S - 301}),
        ("late", "over", good, {"at_unix_s": FROM_S + 90 * DAY_S + 300}),
    ]


def delegations() -> Fields:
    highest = 2**64 - 1
    edge = fields(epoch=highest, not_before_unix_s=highest - 1, not_after_unix_s=highest, chain_id=highest)
    return {
        "secret_key": SECRET.hex(),
        "type": "NodeDelegation(bytes32 nodeKey,uint64 epoch,uint64 notBefore,uint64 notAfter)",
        "type_hash": keccak(text="NodeDelegation(bytes32 nodeKey,uint64 epoch,uint64 notBefore,uint64 notAfter)").hex(),
        "made": [
            made("ninety days on Sepolia", fields()),
            made("after three revocations, on a local chain", fields(epoch=3, chain_id=31337, contract=OTHER_CONTRACT)),
            made("the highest numbers", edge),
        ],
        "accepted": accepted(),
        "refused": refused(),
    }


def signatures() -> Fields:
    digest = keccak(text="masa node")
    good = bytes(Account.unsafe_sign_hash(digest, SECRET).signature)
    zero, order = bytes(32), ORDER.to_bytes(32)
    rows = [
        ("v is 27 or 28", good, OWNER),
        ("v is 0 or 1", good[:64] + bytes([good[64] - 27]), OWNER),
        ("high s", high_s(good), None),
        ("r is 0", zero + good[32:], None),
        ("r is the order", order + good[32:], None),
        ("s is 0", good[:32] + zero + good[64:], None),
        ("s is the order", good[:32] + order + good[64:], None),
        ("r is on no point", (5).to_bytes(32) + good[32:], None),
        ("v is 2", good[:64] + b"\x02", None),
        ("v is 29", good[:64] + b"\x1d", None),
        ("v is 37, as in transactions", good[:64] + b"\x25", None),
        ("64 bytes", good[:64], None),
        ("66 bytes", good + b"\x00", None),
    ]
    named = [{"name": n, "digest": digest.hex(), "signature": s.hex(), "signer": o} for n, s, o in rows]
    return {"secret_key": SECRET.hex(), "owner": OWNER, "signatures": named}


def text_of(document: Fields) -> str:
    return json.dumps(document, indent=2) + "\n"


FILES = {"delegations.json": delegations, "signatures.json": signatures}

if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, document in FILES.items():
        (FOLDER / name).write_text(text_of(document()), "utf-8")
