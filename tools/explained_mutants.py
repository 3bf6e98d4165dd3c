"""The mutants that no test kills because they mean the same as the original: see docs/mutation-testing.md.

By module, then by the place and the change, as `make mutants` names them.
"""

EXPLAINED: dict[str, dict[tuple[str, str], str]] = {}
