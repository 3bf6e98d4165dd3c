"""The commands about peers: `commands` declares them, `actions` does them, `listing` prints."""
