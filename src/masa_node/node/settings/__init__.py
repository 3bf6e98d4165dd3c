"""What the owner wants: read once, checked, frozen.

Primitives: `environment.read_settings` (the environment and `.env`), `config_file` (`masa.toml`), `peers` and `stake`
(settings about those, checked).
"""
