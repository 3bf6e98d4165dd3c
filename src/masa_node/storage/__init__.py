"""Files in MASA_DIR that outlive the process.

Primitives: `database.Database` (SQLite on a thread of its own), `lock.NodeLock` (one node a folder).
"""
