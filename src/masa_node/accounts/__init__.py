"""Callers: whose key each has, what it may have, and what was used. Nothing here ever sees a prompt or an answer.

Primitives: `ledger.Ledger` (sums of a day, fed by outcomes, kept in MASA_DIR), `usage` (what is summed),
`report` (questions about the sums), `access.Access` (keys with names, and what each may have), `journal.Journal` (the
last races).
"""
