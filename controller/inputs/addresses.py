"""Which repositories may be spoken to, judged by their address alone.

Promises: an address is a bare repository on this host, or https, or ssh (http to this host only); nothing in it can be
read as an option or as a transport helper; a branch name is one that git itself allows. Does not: touch the network.
"""

import os
import re
from pathlib import Path
from urllib.parse import urlsplit

from controller.inputs.gitcmd import Remote
from controller.ports.repository import RepositoryTroubleError

_SCP = re.compile(r"(?:[A-Za-z0-9][\w.+-]*@)?[A-Za-z0-9][\w.-]*:(?![/:]{2})[^\s:-][^\s]*")
_HERE = ("localhost", "127.0.0.1", "::1")
_BRANCH = re.compile(r"[^\x00-\x20\x7f~^:?*\[\\]+")
_SCHEMES = {"https": "https", "ssh": "ssh", "http": "http"}


def looks_remote(address: str) -> bool:
    """Is it meant as an address, not as a folder on this host?"""
    return "::" in address or "://" in address or (not Path(address).exists() and bool(_SCP.fullmatch(address)))


def is_bare(folder: Path) -> bool:
    """Is it a bare repository?"""
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir() and not (folder / ".git").exists()


def remote_of(address: str) -> Remote:
    """The remote behind an address.

    Raises:
        RepositoryTroubleError: RepositoryRefused, with what to write instead.
    """
    if not address or address.startswith("-") or not address.isprintable() or len(address) > 2000:
        raise _refused(address, "that is no address", "write https://..., ssh://... or the path of a bare repository")
    if re.match(r"[A-Za-z0-9+.-]*::", address):
        raise _refused(address, "transport helpers run programs", "write https://, ssh:// or a path")
    if "://" in address:
        return _url(address)
    return Remote(address, "ssh") if looks_remote(address) else _local(address)


def _url(address: str) -> Remote:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise _refused(address, str(error), "mend the host or port") from error
    if parts.scheme == "file":
        raise _refused(address, "file:// is not used", f"write the path itself: {parts.path}")
    if parts.scheme not in _SCHEMES:
        raise _refused(address, f"{parts.scheme}:// is not allowed", "use https:// or ssh://")
    if parts.password or (parts.username and parts.scheme != "ssh"):
        shown = f"{parts.scheme}://{host}{f':{port}' if port else ''}{parts.path}"
        raise _refused(shown, "a credential in an address is seen by everybody", "use a git credential helper")
    if not host or host.startswith("-") or (parts.username or "").startswith("-") or parts.path.startswith("/-"):
        raise _refused(address, "host, user or path could be read as an option", "mend it")
    if parts.scheme == "http" and host not in _HERE:
        raise _refused(address, "http can be read and changed on the way", "write https://")
    return Remote(address, _SCHEMES[parts.scheme])


def _local(address: str) -> Remote:
    folder = Path(os.path.abspath(Path(address).expanduser()))  # noqa: PTH100  # resolve() would follow links
    if not folder.is_dir():
        raise RepositoryTroubleError("RemoteUnreachable", f"{address}: there is no such repository")
    if not is_bare(folder):
        why = "it has a work tree" if (folder / ".git").exists() else "it is no git repository"
        raise _refused(address, why, f"watch its folder (ml reconcile {address}), or name a bare repository")
    check_local(folder)
    return Remote(str(folder), "file")


def check_local(folder: Path) -> None:
    """A repository on this host may not lend objects from another one that its owner perhaps may not read.

    Raises:
        RepositoryTroubleError: RepositoryRefused.
    """
    if any(os.path.lexists(folder / "objects" / "info" / name) for name in ("alternates", "http-alternates")):
        raise _refused(
            str(folder), "it borrows objects (objects/info/alternates)", "git repack -a -d, and remove that file"
        )


def checked_branch(name: str) -> str:
    """The name, when git allows it as that of a branch.

    Raises:
        RepositoryTroubleError: RepositoryRefused.
    """
    parts = name.split("/")
    bad = any(part == "" or part.startswith((".", "-")) or part.endswith((".lock", ".")) for part in parts)
    if bad or not _BRANCH.fullmatch(name) or ".." in name or "@{" in name or name in ("@", "HEAD") or len(name) > 200:
        raise _refused(name, "that is no name of a branch", "write a name such as main")
    return name


def _refused(what: str, why: str, instead: str) -> RepositoryTroubleError:
    return RepositoryTroubleError("RepositoryRefused", f"{what!r}: {why}; {instead}")
