"""Whose the files are that root makes in another user's MASA_DIR, as `sudo masa-node keys add` does: that user's.

Otherwise the node, which runs as that user, could not read them. Not the node's key: its user has to own it.
"""

import os
from contextlib import suppress
from pathlib import Path


def give_to_owner_of(folder: Path, file: int) -> None:
    """Give a file, which this process has just made there, to the folder's owner, if root made it."""
    if os.name == "nt" or os.geteuid() != 0:
        return
    owner = folder.stat()
    with suppress(OSError):  # some network file systems let nobody
        os.fchown(file, owner.st_uid, owner.st_gid)
