"""OpenAI's chat completions, of OpenAI and of the many compatible servers."""
