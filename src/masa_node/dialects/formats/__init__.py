"""The wire formats, one file each: what their frames and bodies are, how they tell errors. See `dialect.Dialect`."""
