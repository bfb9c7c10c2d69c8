"""The command `ml`.

Promises: `ml --version` costs an interpreter start and nothing else; every other command imports only what it needs,
when it needs it. Does not: decide anything. Commands parse, call, print, and exit with the codes of the contract.
"""

import _signal  # type: ignore[import-not-found]  # built in, no stub; the signal module costs an enum
import os
import sys


def main() -> None:
    """Entry point of the console script."""
    if sys.argv[1:] == ["--version"]:
        from controller import __version__

        sys.stdout.write(f"ml {__version__}\n")
        return
    # Ctrl-C while modules are still being imported ends the process as it ends any other, without a traceback.
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    # pydantic would look through every installed distribution for plugins, and let them into this process.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    from controller.entrypoints.cli.app import run

    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    run()
