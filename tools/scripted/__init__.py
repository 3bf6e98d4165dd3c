"""LLM servers that answer by a script, to try clients on: `formats.py` speaks, `server.py` listens."""
