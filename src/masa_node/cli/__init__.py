"""The `masa-node` command: argv to settings to node, and what people read. Import `main`."""
