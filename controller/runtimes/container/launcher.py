"""The launcher: the host's own sh with its libraries, in a folder that every container mounts read-only.

Promises: the folder is whole or absent, named by what is in it, and built once; with it a container observes itself
from inside, whatever its image lacks (docs/adr/0051). Does not: give the image more than a shell.
"""

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

INSIDE = "/fetchml/launcher"
SECRETS = "/fetchml/secrets"
_SHELL = "/bin/sh"
_SCRIPT = Path(__file__).parent / "launch.sh"
_LIBRARY = re.compile(r"^\s*(\S+) => (/\S+) ", re.MULTILINE)
_LOADER = re.compile(r"^\s*(/\S*/ld[^/\s]*\.so\S*) ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Kit:
    """The folder on the host, and the words before the user's command."""

    folder: Path
    entrypoint: tuple[str, ...]
    sha256: str


def build(home: Path) -> Kit:
    """The kit beneath `home`, made if it is not there.

    Raises:
        OSError: the shell cannot be read, or the folder not written.
    """
    listed = subprocess.run(
        [_SHELL], env={"LD_TRACE_LOADED_OBJECTS": "1"}, stdin=subprocess.DEVNULL, capture_output=True, check=False
    ).stdout.decode()
    files = {"sh": Path(_SHELL).resolve(), "launch.sh": _SCRIPT}
    files |= {name: Path(place) for name, place in _LIBRARY.findall(listed)}
    words: tuple[str, ...] = (f"{INSIDE}/sh", f"{INSIDE}/launch.sh")
    loader = _LOADER.search(listed)
    if loader:
        files["ld.so"] = Path(loader[1])
        words = (f"{INSIDE}/ld.so", "--library-path", INSIDE, *words)
    digest = _digest(files)
    folder = home / digest[:16]
    if not folder.is_dir():
        _fill(folder, files)
    return Kit(folder, words, f"sha256:{digest}")


def _digest(files: dict[str, Path]) -> str:
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{hashlib.sha256(files[name].read_bytes()).hexdigest()}  {name}\n".encode())
    return whole.hexdigest()


def _fill(folder: Path, files: dict[str, Path]) -> None:
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}")
    temporary.mkdir(parents=True)
    for name, source in files.items():
        shutil.copyfile(source, temporary / name)
        (temporary / name).chmod(0o755)
    temporary.chmod(0o755)
    try:
        temporary.rename(folder)
    except OSError:
        shutil.rmtree(temporary)
        if not folder.is_dir():
            raise
