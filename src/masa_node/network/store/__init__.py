"""What a node keeps of its network between two runs, in MASA_DIR.

Primitives: `store.Store` over `database.Database` (SQLite on a thread of its own), `node_key.load_secret`,
`lock.NodeLock` (one node a folder), `commands` (what the owner wants of a running node).
"""
