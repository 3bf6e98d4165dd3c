"""The composition root: settings in, a running node out. The only room that knows every other one.

Import `settings.environment` to read them, `run` to run a node.
"""
