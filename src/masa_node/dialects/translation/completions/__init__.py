"""OpenAI's older completions: a prompt, and the text that follows. Callers only; no server is asked in it."""
