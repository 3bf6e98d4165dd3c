"""Observers of outcomes. Nothing here ever sees a prompt or an answer.

Primitives: `log.configure` and `log.log_outcome` (one line a request), `metrics.Metrics` (Prometheus).
"""
