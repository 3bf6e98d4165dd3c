"""Where the CPU time of a request goes: `python -m bench.profiling`, or `make profile`."""
