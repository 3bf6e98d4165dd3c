"""The tables of the store, as the steps that lead from one form to the next. Never change one that was released."""

_V1 = """
CREATE TABLE peers (node_id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE kept (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE vouchers (by TEXT PRIMARY KEY, signed BLOB NOT NULL, expires_at_unix_s INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE invites (
    token_hash BLOB PRIMARY KEY, made_at_unix_s INTEGER NOT NULL, expires_at_unix_s INTEGER NOT NULL,
    uses INTEGER NOT NULL, note TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE invite_uses (
    token_hash BLOB NOT NULL REFERENCES invites ON DELETE CASCADE, node_id TEXT NOT NULL,
    used_at_unix_s INTEGER NOT NULL, PRIMARY KEY (token_hash, node_id)
) WITHOUT ROWID;
CREATE TABLE commands (
    id INTEGER PRIMARY KEY AUTOINCREMENT, verb TEXT NOT NULL, argument TEXT NOT NULL, made_at_unix_s INTEGER NOT NULL,
    state TEXT NOT NULL, words TEXT NOT NULL
);
"""
_V2 = """
CREATE TABLE readings (number INTEGER PRIMARY KEY, owner TEXT NOT NULL UNIQUE, reading BLOB NOT NULL);
"""  # the number grows with each write: the lowest is the oldest
# By whose word a peer was let in was not kept before: such peers are let in again by the words that they show.
_V3 = """
DELETE FROM peers WHERE instr(CAST(record AS TEXT), '"membership":"vouched"') > 0;
"""
MIGRATIONS = (_V1, _V2, _V3)
