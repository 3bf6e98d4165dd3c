"""Observers of outcomes: the log and the metrics. Nothing here ever sees a prompt or an answer.

Import `log` to write lines, `metrics` to count.
"""
