"""What the owner wants: read once, checked, frozen.

Primitives: `environment.read_settings` (the environment and `.env`), `config_file` (`masa.toml`), `upstreams` (the LLM
servers that both name), `peers` and `stake` (settings about those, checked).
"""
