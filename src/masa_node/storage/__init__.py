"""Files that outlive the process: those in MASA_DIR, and what is installed.

Primitives: `database.Database` (SQLite on a thread of its own), `lock.NodeLock` (one node a folder),
`extras.how_to_add` (what brings an extra of this program here).
"""
