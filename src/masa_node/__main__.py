"""`python -m masa_node` is the `masa-node` command."""

from masa_node.cli.main import main

if __name__ == "__main__":
    main()
