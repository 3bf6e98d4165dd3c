"""A node whose MASA_DIR cannot be used when it starts: it serves, and has its network once the folder can be used."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from meeting import StartNode, node_id, own_view, wait_until
from node_process import Node

FULL = 8 * 1024 * 1024
ABSENT = "b0b0" * 16

Mend = Callable[[], None]


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[tuple[Path, Mend]]:
    """A folder where a key is, and no room for more; a small disk of its own where this user may mount one.

    Elsewhere something else stands where the file has to be, which fails in the same place.
    """
    masa_dir = tmp_path / "small"
    masa_dir.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "none", str(masa_dir)], check=False, capture_output=True
    )
    filling = masa_dir / "filling"
    try:
        if mounted.returncode == 0:
            yield masa_dir, filling.unlink
        else:
            masa_dir.chmod(0o700)
            (masa_dir / "network.sqlite3").mkdir()
            yield masa_dir, (masa_dir / "network.sqlite3").rmdir
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "-l", str(masa_dir)], check=True)


def fill(masa_dir: Path) -> None:
    """Until not a byte more can be written."""
    if not os.path.ismount(masa_dir):
        return
    with (masa_dir / "filling").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass


def test_what_is_ordered_after_the_disk_was_full_is_carried_out(
    full_disk: tuple[Path, Mend], start_peer: StartNode, tmp_path: Path
) -> None:
    masa_dir, mend = full_disk
    asking = Node(tmp_path, {"MASA_DIR": str(masa_dir)}, "/healthz")
    own_id = json.loads(asking.command("id", "--json").stdout)["node_id"]  # makes the key while there is room
    for left in masa_dir.glob("network.sqlite3*"):
        if left.is_file():
            left.unlink()
    fill(masa_dir)
    with start_peer(MASA_DIR=str(masa_dir)) as node:
        assert node_id(node) == own_id  # it has a network, with its store in memory
        refused = node.command("peers", "block", ABSENT)
        assert refused.returncode == 1
        assert "cannot be read or written" in refused.stderr
        refused = node.command("invite")
        assert (refused.returncode, refused.stdout) == (1, "")
        mend()
        wait_until(lambda: "saved again" in node.log.read_text(), 20)
        blocked = node.command("peers", "block", ABSENT)
        assert blocked.returncode == 0, blocked.stderr
        rows = {row["id"]: row for row in node.get("/api/v1/peers")["peers"]}
        assert rows[ABSENT]["membership"] == "blocked"
        made = node.command("invite")
        assert made.returncode == 0, made.stderr
        with start_peer(MASA_DIR=str(tmp_path / "guest")) as guest:
            node_id(guest)
            joined = guest.command("join", made.stdout.strip())
            assert joined.returncode == 0, joined.stderr


def test_a_second_node_takes_over_when_the_first_is_gone(start_peer: StartNode) -> None:
    with start_peer() as first:
        own_id = node_id(first)
        with start_peer(MASA_DIR=str(first.masa_dir), DEMO="1") as second:
            wait_until(lambda: "takes over when that one ends" in second.get("/api/v1/peers")["why"])
            assert second.get("/api/v1/node")["node_id"] is None
            first.kill()
            wait_until(lambda: own_view(second)["node_id"] == own_id, 20)
            assert second.get("/api/v1/peers")["state"] == "on"
            assert "MASA_DIR can be used now" in second.log.read_text()
            made = second.command("invite")
            assert made.returncode == 0, made.stderr
