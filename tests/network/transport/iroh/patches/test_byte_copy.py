"""Each test gets a glue module of its own: the one that the node uses is fixed when it is imported."""

import ctypes
import importlib.util
import os
import random
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import iroh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from masa_node.network.transport.iroh import endpoint
from masa_node.network.transport.iroh.patches.byte_copy import copy_in_blocks

SIZES = [0, 1, 2, 3, 4, 5, 255, 256, 4096, 64 * 1024, 64 * 1024 + 1]


def fresh_glue() -> ModuleType:
    """The generated module as it comes, over the same library."""
    spec = importlib.util.spec_from_file_location("fresh_iroh_glue", str(iroh.iroh_ffi.__file__))
    assert spec is not None
    assert spec.loader is not None
    glue = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(glue)
    return glue


STOCK = fresh_glue()
FIXED = fresh_glue()
assert copy_in_blocks(FIXED)


def lowered(glue: ModuleType, value: object) -> bytes:
    buffer = glue._UniffiFfiConverterBytes.lower(value)
    try:
        return bytes(buffer.data[: buffer.len])
    finally:
        buffer.free()


def lifted(glue: ModuleType, value: bytes) -> bytes:
    buffer = glue._UniffiRustBuffer.alloc(len(value))
    if value:
        ctypes.memmove(buffer.data, value, len(value))
    buffer.len = len(value)
    return glue._UniffiFfiConverterBytes.lift(buffer)


def written(glue: ModuleType, parts: list[bytes]) -> bytes:
    buffer = glue._UniffiFfiConverterSequenceBytes.lower(parts)
    try:
        return bytes(buffer.data[: buffer.len])
    finally:
        buffer.free()


def test_the_node_runs_with_the_fix_and_with_the_direct_callback() -> None:
    assert endpoint.COPIES_IN_BLOCKS
    assert endpoint.SETTLES_DIRECTLY


@pytest.mark.parametrize("size", SIZES)
def test_both_give_the_same_bytes(size: int) -> None:
    value = random.Random(size).randbytes(size)  # noqa: S311 - any bytes
    assert lowered(FIXED, value) == lowered(STOCK, value) == size.to_bytes(4, "big") + value
    assert lifted(FIXED, lowered(STOCK, value)) == lifted(STOCK, lowered(STOCK, value)) == value
    assert written(FIXED, [value, b"", value]) == written(STOCK, [value, b"", value])


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_both_give_the_same_structures(parts: list[bytes]) -> None:
    assert written(FIXED, parts) == written(STOCK, parts)


@given(st.binary(max_size=3000))
def test_both_give_the_same_bytes_whatever_they_are(value: bytes) -> None:
    assert lowered(FIXED, value) == lowered(STOCK, value)
    assert lifted(FIXED, lowered(STOCK, value)) == value


def test_other_bytes_like_objects_are_taken_as_before() -> None:
    for value in (bytearray(b"abc"), memoryview(b"abc")):
        assert lowered(FIXED, value) == lowered(STOCK, value) == b"\0\0\0\x03abc"


@pytest.mark.parametrize("wrong", [b"\0\0\0\x05abc", b"\0\0\0\x01abc", b"\xff\xff\xff\xff", b"\0\0\0\0abc"])
def test_a_length_that_does_not_fit_is_an_error_as_before(wrong: bytes) -> None:
    for glue in (STOCK, FIXED):
        with pytest.raises((glue.InternalError, RuntimeError)):
            lifted(glue, wrong)


def test_nothing_is_leaked_by_a_hundred_thousand_copies() -> None:
    def resident_kb() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024

    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc")
    value = bytes(4096)
    wire = lowered(FIXED, value)
    for _ in range(1000):
        lowered(FIXED, value)
    before = resident_kb()
    for _ in range(10_000):
        lowered(FIXED, value)
        lifted(FIXED, wire)
    assert resident_kb() - before < 8 * 1024  # 80 MB went through


def without_builder(glue: ModuleType) -> None:
    del glue._UniffiRustBufferBuilder


def without_converter(glue: ModuleType) -> None:
    del glue._UniffiFfiConverterBytes


def with_a_converter_of_its_own(glue: ModuleType) -> None:
    glue._UniffiFfiConverterBytes.lower = classmethod(lambda cls, value: value)


def with_a_reversed_converter(glue: ModuleType) -> None:
    glue._UniffiFfiConverterBytes.write = staticmethod(
        lambda value, buf: (buf.write_i32(len(value)), buf.write(value[::-1]))
    )


def with_a_longer_prefix(glue: ModuleType) -> None:
    glue._UniffiFfiConverterBytes.write = staticmethod(lambda value, buf: (buf.write_u64(len(value)), buf.write(value)))
    glue._UniffiFfiConverterBytes.read = staticmethod(lambda buf: buf.read(buf.read_u64()))


def with_other_fields(glue: ModuleType) -> None:
    class Buffer(ctypes.Structure):
        _fields_ = [("len", ctypes.c_uint64), ("data", ctypes.c_void_p)]

    glue._UniffiRustBuffer = Buffer


@pytest.mark.parametrize(
    "change",
    [
        without_builder,
        without_converter,
        with_a_converter_of_its_own,
        with_a_reversed_converter,
        with_a_longer_prefix,
        with_other_fields,
    ],
)
def test_a_glue_that_is_not_as_expected_stays_as_it_was(change: Callable[[ModuleType], None]) -> None:
    glue = fresh_glue()
    change(glue)
    kinds = [getattr(glue, name, object) for name in ("_UniffiFfiConverterBytes", "_UniffiRustBufferBuilder")]
    before = [dict(vars(kind)) for kind in kinds]
    assert copy_in_blocks(glue) is False
    assert [dict(vars(kind)) for kind in kinds] == before


def test_an_empty_module_is_left_alone() -> None:
    glue = ModuleType("nothing")
    assert copy_in_blocks(glue) is False
