"""The program: `fanout` and `python -m fanout`."""

import sys


def main() -> None:
    """Imports inside: Ctrl-C while they run is no traceback either."""
    try:
        from fanout.cli import cli

        cli()
    except KeyboardInterrupt:  # before or outside the server, whose own signal handling drains
        sys.exit(130)


if __name__ == "__main__":
    main()
