"""Who used what. Nothing here ever sees a prompt or an answer.

Primitives: `ledger.Ledger` (sums of a day, fed by outcomes, kept in MASA_DIR), `usage` (what is summed),
`report` (questions about the sums).
"""
