"""A real sshd on the loopback interface, for one test run: its own host key, one user key, nothing of the machine's.

Promises: it listens on 127.0.0.1 only and ends with the process that started it. Does not: touch ~/.ssh.
"""

import atexit
import contextlib
import functools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin") or ""
LIMIT = 60.0


@dataclass(frozen=True)
class Server:
    """One sshd."""

    folder: Path
    port: int

    @property
    def config(self) -> Path:
        """A client's configuration that knows the host and has the key."""
        return self.folder / "client"

    def address(self, path: Path) -> str:
        """The store in a folder of this host."""
        return f"ssh://127.0.0.1:{self.port}{path}"

    def config_with(self, known_hosts: str) -> Path:
        """A configuration that knows these hosts instead; it tries to accept all others, as careless ones do."""
        known = Path(tempfile.mkdtemp(dir=self.folder))
        (known / "known_hosts").write_text(known_hosts)
        (known / "client").write_text(
            f"IdentityFile {self.folder}/user\nIdentitiesOnly yes\nUserKnownHostsFile {known}/known_hosts\n"
            "GlobalKnownHostsFile /dev/null\nStrictHostKeyChecking no\nLogLevel ERROR\n"
        )
        return known / "client"

    def known_as(self, public: str) -> str:
        """A line of known_hosts."""
        kind, key, *_ = public.split()
        return f"[127.0.0.1]:{self.port} {kind} {key}\n"


def _free_port() -> int:
    with socket.socket() as probing:
        probing.bind(("127.0.0.1", 0))
        return int(probing.getsockname()[1])


def new_key(file: Path) -> str:
    """Make a key pair; its public half."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    return file.with_name(file.name + ".pub").read_text()


@functools.cache
def server() -> Server:
    """The sshd of this process, started when it is first asked for."""
    folder = Path(tempfile.mkdtemp(prefix="fetchml-sshd-"))
    found = Server(folder, _free_port())
    host = new_key(folder / "host")
    (folder / "authorized").write_text(new_key(folder / "user"))
    (folder / "sshd").write_text(
        f"ListenAddress 127.0.0.1\nPort {found.port}\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nPasswordAuthentication no\nPermitRootLogin yes\n"
        "MaxStartups 100\nMaxSessions 100\nKbdInteractiveAuthentication no\n"
    )
    with contextlib.suppress(OSError):
        Path("/run/sshd").mkdir(parents=True, exist_ok=True)  # Debian's sshd wants it
    log = (folder / "log").open("w")
    process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd")], stderr=log)
    atexit.register(_stop, process, folder)
    (folder / "client").write_bytes(found.config_with(found.known_as(host)).read_bytes())
    end = time.monotonic() + LIMIT
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", found.port), timeout=5):
            return found
        time.sleep(0.05)
    raise OSError(f"sshd did not start: {(folder / 'log').read_text()}")


def _stop(process: "subprocess.Popen[bytes]", folder: Path) -> None:
    process.terminate()
    process.wait(timeout=LIMIT)
    shutil.rmtree(folder, ignore_errors=True)


def answers() -> bool:
    """Does it start, and let us in?"""
    found = server()
    words = ["ssh", "-F", str(found.config), "-p", str(found.port), "127.0.0.1", "true"]
    return subprocess.run(words, capture_output=True, timeout=LIMIT, check=False).returncode == 0
