import pytest
from structlog.testing import capture_logs

from masa_node.network.links.peer_record import MembershipLevel, PeerRecord
from masa_node.network.store.rows import KeptVoucher, checked, record_of
from masa_node.network.transport.interfaces import NodeId

BOB = NodeId("b" * 64)
FIELDS = ("by", "signed", "expires_at_unix_s")


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b'{"node_id":"%b"}' % (b"b" * 64),
        b'{"node_id":"%b","membership":"invited"}' % (b"a" * 64),
        b'{"node_id":"b","membership":"invited"}',
        "text",
        None,
    ],
)
def test_a_record_that_does_not_read_or_is_of_another_peer_is_none(stored: object) -> None:
    assert record_of(BOB, stored) is None


def test_a_record_is_read_as_it_was_written() -> None:
    stored = b'{"node_id":"%b","membership":"invited"}' % (b"b" * 64)
    assert record_of(BOB, stored) == PeerRecord(BOB, MembershipLevel.INVITED)


def test_rows_that_fit_are_kept_and_each_other_one_is_warned_of() -> None:
    with capture_logs() as logs:
        read = checked(KeptVoucher, FIELDS, [(BOB, b"signed", 5), ("bob", b"signed", 5), (BOB, b"signed", -1)])
    assert read == [KeptVoucher(BOB, b"signed", 5)]
    assert [(line["event"], line["of"]) for line in logs] == [("a row of the store cannot be read", "KeptVoucher")] * 2
