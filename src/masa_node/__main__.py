"""`masa-node`, and `python -m masa_node`."""

from masa_node.node.signals import ended_at_once


def main() -> None:
    """The entry point: see `cli.main.main`."""
    with ended_at_once():
        from masa_node.cli.main import main as run  # noqa: PLC0415 - and all that this imports

    run()


if __name__ == "__main__":
    main()
