"""Verdicts on peers' stakes: given at once from what is known, made true again soon after.

Primitives: `gate.Gate`; `values` (`Verdict`, `Reading`), `chain.Chain` (reads the chain). The rules are pure:
`evaluator` over `cache` (how long an answer counts), `delegation_cache`, `node_count`, `judge`.
"""
