"""The console: pages that show the node to its owner. Python only reads the files; `static/` holds all of them."""
