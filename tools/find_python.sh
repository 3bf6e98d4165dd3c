#!/usr/bin/env bash
# find_python.sh: prints a Python from 3.11 to 3.14 for the virtual environment.
#
# One built with profile-guided optimisation goes before others, as any request costs 9 to 27 % more without it. pyenv
# builds without; Debian, Ubuntu, Homebrew, python.org and uv with it. Then the order of the names below decides.
# One that cannot make virtual environments comes last; whoever uses it says what to install. Prints nothing, with exit
# code 1, where there is none at all.
set -uo pipefail

# Debian does not say in sysconfig how it builds.
ask='
import os, sys, sysconfig
if not (3, 11) <= sys.version_info[:2] <= (3, 14):
    sys.exit(2)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(4)
name = "python%d.%d-minimal.list" % sys.version_info[:2]
is_debians = sys.base_prefix == "/usr" and os.path.exists("/var/lib/dpkg/info/" + name)
sys.exit(0 if is_debians or "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or "") else 3)
'
usable=""
bare=""
for python in python3 python3.14 python3.13 python3.12 python3.11 /usr/bin/python3; do
  "$python" -I -c "$ask" 2>/dev/null
  case $? in
    0) echo "$python"; exit 0 ;;
    3) usable=${usable:-$python} ;;
    4) bare=${bare:-$python} ;;
  esac
done
found=${usable:-$bare}
[ -n "$found" ] && echo "$found"
