"""Masa Node: one HTTP endpoint for any LLM. `ARCHITECTURE.md` is the map of this package."""

__version__ = "0.1.0"
