"""Peers, each in a virtual environment of its own under .cache/peers (git-ignored), made on first use.

Promises: a peer that cannot be installed is left out and said so; it is tried again only when its folder is removed.
Does not: touch our own environment.
"""

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent.parent / ".cache" / "peers"
TIMEOUT = 900.0
"""Seconds for one installation; mlflow is large."""


def program(package: str) -> Path | None:
    """The peer's command, installed from the package index if need be; None when that cannot be done."""
    place = FOLDER / package
    command = place / "bin" / package
    if not command.exists() and not (place / "failed").exists():
        why = _install(place, package)
        if why:
            (place / "failed").write_text(why)
    if command.exists():
        return command
    print(f"peer {package} is left out: {(place / 'failed').read_text().strip()}")
    return None


def _install(place: Path, package: str) -> str:
    """Empty when it worked, else why not."""
    pip = [str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", package]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True, capture_output=True, env=environment)
        print(f"installing {package} into {place} ...", flush=True)
        subprocess.run(pip, check=True, capture_output=True, timeout=TIMEOUT, env=environment)
    except subprocess.CalledProcessError as error:
        lines = (error.stderr or error.stdout).decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else str(error)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return ""
