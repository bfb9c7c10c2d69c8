"""The command `ml`.

Promises: `ml --version` costs an interpreter start and nothing else; every other command imports only what it needs,
when it needs it. Does not: decide anything. Commands parse, call, print, and exit with the codes of the contract.
"""

import os
import sys


def main() -> None:
    """Entry point of the console script."""
    if sys.argv[1:] == ["--version"]:
        from controller import __version__

        sys.stdout.write(f"ml {__version__}\n")
        return
    # pydantic would look through every installed distribution for plugins, and let them into this process.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from controller.entrypoints.cli.app import run

    run()
