import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path

from masa_node.network.transport.iroh import endpoint
from masa_node.network.transport.iroh.patches.release import HELD, Releasing, release_on_loop
from tests.network.transport.iroh.patches.test_byte_copy import fresh_glue

PROJECT = Path(__file__).parents[5]
HANGS_AFTER_S = 60  # it takes a second or two


class Rust:
    """What was let go of, and in which thread."""

    def __init__(self) -> None:
        self.released: list[tuple[int, int]] = []
        self.releasing = Releasing(lambda handle: self.released.append((handle, threading.get_ident())))


async def test_nothing_is_let_go_of_on_the_spot_but_in_the_next_turn() -> None:
    rust = Rust()
    rust.releasing(1, None)
    rust.releasing(2, None)
    assert rust.released == []
    await asyncio.sleep(0)
    here = threading.get_ident()
    assert rust.released == [(1, here), (2, here)]


async def test_what_rusts_thread_collects_is_let_go_of_on_the_loop() -> None:
    rust = Rust()
    rust.releasing(1, None)
    await asyncio.sleep(0)
    await asyncio.to_thread(rust.releasing, 2, None)
    await asyncio.sleep(0)
    assert {thread for _, thread in rust.released} == {threading.get_ident()}
    assert [handle for handle, _ in rust.released] == [1, 2]


def test_what_is_left_when_the_loop_is_closed_the_next_one_lets_go_of() -> None:
    rust = Rust()

    async def release(handle: int) -> None:
        rust.releasing(handle, None)
        await asyncio.sleep(0)

    asyncio.run(release(1))
    rust.releasing(2, None)
    assert [handle for handle, _ in rust.released] == [1]
    asyncio.run(release(3))
    assert [handle for handle, _ in rust.released] == [1, 2, 3]


def test_the_node_uses_it() -> None:
    assert endpoint.RELEASES_ON_LOOP


def test_a_glue_that_is_not_as_expected_stays_as_it_was() -> None:
    glue = fresh_glue()
    name = f"uniffi_iroh_ffi_fn_free_{HELD[0]}"
    before = getattr(glue._UniffiLib, name)
    del glue._uniffi_rust_call
    assert not release_on_loop(glue)
    assert getattr(glue._UniffiLib, name) is before


def test_the_collector_may_run_while_rust_wakes_a_reader() -> None:
    """In a process of its own: when this goes wrong not even a signal ends it."""
    script = Path(__file__).with_name("collecting.py")
    env = {**os.environ, "PYTHONPATH": str(PROJECT / "src")}
    done = subprocess.run(
        [sys.executable, str(script)], env=env, timeout=HANGS_AFTER_S, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
