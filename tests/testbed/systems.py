"""The real systems that tests may need: each with a probe that tries it and the command that installs it.

Promises: `missing(name)` tries the system once per process and says why it cannot be used.
Does not: install or start anything.
"""

import ctypes.util
import functools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.testbed import s3, sshd
from tests.testbed.engines import answers


@dataclass(frozen=True)
class System:
    """One real system."""

    probe: Callable[[], bool]
    """True where it works; may raise OSError or a subprocess error."""
    fix: str
    """What to do where it does not."""


def _runs(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def _seccomp() -> bool:
    actions = Path("/proc/sys/kernel/seccomp/actions_avail")
    return ctypes.util.find_library("seccomp") is not None and "errno" in actions.read_text().split()


def _signs() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        return _runs("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", f"{folder}/key")


def _openssl() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        return _runs("openssl", "genpkey", "-algorithm", "ed25519", "-out", f"{folder}/key.pem")


def _tmpfs() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        return _runs("unshare", "--mount", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder)


def _xfs() -> bool:
    """A file system that shares blocks between files, in a file."""
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image")
        with image.open("wb") as file:
            file.truncate(512 << 20)
        return _runs("mkfs.xfs", "-q", str(image)) and _runs(
            "unshare", "--mount", "mount", "-o", "loop", str(image), folder
        )


def _inotify() -> bool:
    return int(Path("/proc/sys/fs/inotify/max_user_watches").read_text()) > 0


def _index() -> bool:
    download = ("-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "typing-extensions")
    with tempfile.TemporaryDirectory() as folder:
        return _runs(sys.executable, *download, "--dest", folder)


def _root() -> bool:
    return os.geteuid() == 0


SYSTEMS = {
    "bwrap": System(
        lambda: _runs("bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"),
        "apt-get install bubblewrap, and a kernel that lets this user make namespaces",
    ),
    "unshare": System(
        lambda: _runs(
            "unshare", "--user", "--map-root-user", "--mount", "--pid", "--fork", "--net", "--ipc", "--uts", "true"
        ),
        "apt-get install util-linux, and a kernel that lets this user make namespaces",
    ),
    "userns": System(
        lambda: _runs("unshare", "--user", "--map-root-user", "true"),
        "sysctl kernel.unprivileged_userns_clone=1; not possible inside a chroot or most containers",
    ),
    "seccomp": System(_seccomp, "apt-get install libseccomp2"),
    "openssl": System(_openssl, "apt-get install openssl (3.0 or newer)"),
    "strace": System(
        lambda: _runs("strace", "-f", "-o", "/dev/null", "true"), "apt-get install strace, and permission to trace"
    ),
    "ssh-keygen": System(_signs, "apt-get install openssh-client (8.9 or newer)"),
    "gpg": System(lambda: _runs("gpg", "--version"), "apt-get install gnupg"),
    "gcc": System(lambda: _runs("gcc", "--version"), "apt-get install gcc libc6-dev"),
    "git": System(lambda: _runs("git", "--version"), "apt-get install git"),
    "coreutils": System(lambda: _runs("sha256sum", "--version"), "apt-get install coreutils"),
    "inotify": System(_inotify, "a Linux kernel with inotify"),
    "tmpfs": System(_tmpfs, "run as root, where mounting is allowed"),
    "root": System(_root, "run as root"),
    "unprivileged": System(
        lambda: _root() and _runs("setpriv", "--reuid=65534", "--clear-groups", "true"),
        "run as root, with setpriv (util-linux)",
    ),
    "index": System(_index, "a package index that pip reaches (pip config)"),
    "docker": System(
        lambda: answers("docker"), "tests/testbed/containers up (as root; it says which packages it needs)"
    ),
    "podman": System(
        lambda: answers("podman"), "tests/testbed/containers up (as root; it says which packages it needs)"
    ),
    "xfs": System(_xfs, "run as root, where loop devices may be mounted; apt-get install xfsprogs"),
    "minio": System(s3.answers, "tests/testbed/services up (it needs Go 1.24 or newer, once)"),
    "sshd": System(sshd.answers, "apt-get install openssh-server (as root; no service needs to run)"),
    "linux": System(lambda: sys.platform == "linux", "run on Linux"),
}


@functools.cache
def missing(name: str) -> str:
    """Why the system cannot be used here and what to do about it; empty when it works."""
    system = SYSTEMS[name]
    try:
        works = system.probe()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        return f"{error}; {system.fix}"
    return "" if works else system.fix
