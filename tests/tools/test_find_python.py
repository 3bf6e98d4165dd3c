"""`tools/find_python.sh`: which Python the Makefile takes."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "tools" / "find_python.sh"
OPTIMISED, USABLE, BARE, OTHER = 0, 3, 4, 2  # what a Python answers
SYSTEMS = "/usr/bin/python3"  # looked at after those of the PATH


def found(folder: Path, **pythons: int) -> str:
    """What is printed where these are in the PATH, before nothing but bash."""
    for name, answer in pythons.items():
        program = folder / name.replace("_", ".")
        program.write_text(f"#!/bin/sh\nexit {answer}\n")
        program.chmod(0o755)
    names = ["python3", *(f"python3.{minor}" for minor in range(11, 15))]
    for name in names:
        if not (folder / name).exists():
            (folder / name).write_text(f"#!/bin/sh\nexit {OTHER}\n")
            (folder / name).chmod(0o755)
    environ = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.defpath}"}
    return subprocess.run([SCRIPT], env=environ, capture_output=True, text=True, check=False).stdout.strip()


@pytest.mark.parametrize(
    ("pythons", "taken"),
    [
        ({"python3": OPTIMISED, "python3_13": OPTIMISED}, {"python3"}),
        ({"python3": USABLE, "python3_13": OPTIMISED}, {"python3.13"}),
        ({"python3": BARE, "python3_12": OPTIMISED}, {"python3.12"}),
        ({"python3_12": USABLE, "python3_11": USABLE}, {"python3.12", SYSTEMS}),
        ({"python3": BARE, "python3_11": USABLE}, {"python3.11", SYSTEMS}),
        ({"python3": BARE}, {"python3", SYSTEMS}),
    ],
)
def test_one_that_is_optimised_goes_before_one_that_is_not(
    tmp_path: Path, pythons: dict[str, int], taken: set[str]
) -> None:
    assert found(tmp_path, **pythons) in taken


def test_what_is_found_is_a_python_of_a_version_that_is_supported() -> None:
    name = subprocess.run([SCRIPT], capture_output=True, text=True, check=True).stdout.strip()
    told = subprocess.run([name, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, check=True)
    assert told.stdout.decode().strip() in {f"(3, {minor})" for minor in range(11, 15)}
