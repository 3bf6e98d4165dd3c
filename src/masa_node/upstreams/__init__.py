"""LLM servers behind this node. One file a kind of server; `http.py` alone touches the HTTP client.

Import `poller` to run all of them, `spec` to describe one, `local_discovery` to look for servers on this machine.
"""
