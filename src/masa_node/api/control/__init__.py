"""Watching and changing a running node: the console's pages, events as they happen, and what its owner may do."""
