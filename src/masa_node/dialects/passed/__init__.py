"""What is only passed on and never translated: forms with a file, and what OpenAI's other endpoints answer.

The registry and whoever reads a request may import from here.
"""
