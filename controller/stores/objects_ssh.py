"""An object store in a folder of another host, over the system's ssh: a shell and coreutils there, nothing installed.

Promises: a host whose key is unknown or has changed is refused, whatever ssh_config says; no password is asked for, no
agent, display or port is forwarded; an object appears there whole (received beside its place, its digest computed by
that host, synced, renamed) or not at all; what is read has its digest. The folder has the layout of a store on a file
system, and can be used as one there. Does not: hold the lock that such a store holds while it deletes: what is put or
asked for while somebody prunes there is only protected by its time of use.
"""

import hashlib
import math
import os
import re
import shlex
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, BinaryIO, cast

from controller.ports import durable
from controller.ports.objectstore import (
    AbsentError,
    ChangedError,
    DamagedError,
    ObjectStore,
    StoredObject,
    UnreachableError,
)
from controller.stores import objects_copy as copying

SENT = durable.register("ssh.put", "objects appear in an object store of another host")
DELETED = durable.register("ssh.delete", "an object leaves an object store of another host")

_ADDRESS = re.compile(
    r"ssh://(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@)?(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?)"
    r"(?::(?P<port>[0-9]{1,5}))?/(?P<path>[^\0\n]+)"
)
_OPTIONS = (
    *("-T", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UpdateHostKeys=no"),
    *("-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4"),
    *("-o", "ForwardAgent=no", "-o", "ForwardX11=no", "-o", "ClearAllForwardings=yes", "-o", "PermitLocalCommand=no"),
)
_IDLE = 10
"""Seconds for which an idle connection is kept."""
_BATCH_FILES = 256
_BATCH_BYTES = 32 << 20
_PIECE = 1 << 20
_ABSENT, _KEPT, _OTHER = 44, 45, 46

_PUT = f"""
set -eu; umask 022
mkdir -p -- "$1/tmp"; cd -- "$1"
t=$(mktemp -d tmp/ssh.XXXXXXXX); trap 'rm -rf -- "$t"' EXIT; mkdir "$t/o"
while read -r hex size; do
  head -c "$size" > "$t/o/$hex"
  printf '%s  %s\\n' "$hex" "$t/o/$hex" >> "$t/sums"
done
sha256sum --check --strict --quiet "$t/sums" >&2 || exit {_OTHER}
chmod 444 "$t"/o/*; sync "$t"/o/*
set -- .
for f in "$t"/o/*; do
  hex=${{f##*/}}; d=${{hex%"${{hex#??}}"}}
  [ -d "$d" ] || {{ mkdir -p "$d"; set -- "$@" "$d"; }}
  mv -f "$f" "$d/${{hex#??}}"; last=$d
  case " $* " in *" $d "*) ;; *) set -- "$@" "$d" ;; esac
done
sync "$@"
"""
_MISSING = """
set -eu
cd -- "$1" 2>/dev/null || exec cat
set --
while read -r hex; do
  f=${hex%"${hex#??}"}/${hex#??}
  if [ -f "$f" ]; then set -- "$@" "$f"; else printf '%s\\n' "$hex"; fi
  if [ $# -ge 200 ]; then touch -c -- "$@"; set --; fi
done
[ $# -eq 0 ] || touch -c -- "$@"
"""
_GET = f'cd -- "$1" 2>/dev/null && [ -f "$2" ] || exit {_ABSENT}; touch -c -- "$2" 2>/dev/null || :; exec cat -- "$2"'
_LIST = """
cd -- "$1" 2>/dev/null || exit 0
for d in [0-9a-f][0-9a-f]; do [ -d "$d" ] && stat -c '%s %Y %n' -- "$d"/* 2>/dev/null; done; exit 0
"""
_DELETE = f"""
cd -- "$1" 2>/dev/null && [ -f "$2" ] || exit {_ABSENT}
[ -z "$3" ] || [ "$(stat -c %Y -- "$2")" -lt "$3" ] || exit {_KEPT}
rm -f -- "$2" && sync "${{2%/*}}"
"""


class SshObjects(ObjectStore):
    """Objects beneath a folder of another host. Each call is one ssh; many puts in a batch share one."""

    def __init__(self, address: str, config: str = "") -> None:
        """`config` is a file for ssh -F; the user's own where it is empty.

        Raises:
            ValueError: the address is not ssh://[user@]host[:port]/folder.
        """
        found = _ADDRESS.fullmatch(address)
        if not found:
            raise ValueError(f"{address!r} is no address of a store; write ssh://[user@]host[:port]/folder")
        self.address = address
        path = found["path"]
        self._folder = path[2:] if path.startswith("~/") else "/" + path
        port = ("-p", found["port"]) if found["port"] else ()
        file = ("-F", config) if config else ()
        target = f"{found['user']}@{found['host']}" if found["user"] else found["host"]
        self._command = ("ssh", *file, *_OPTIONS, *_shared_connection(config), *port, "--", target)
        self._lock = threading.Lock()
        self._batches = 0
        self._waiting: dict[str, bytes] = {}

    def has(self, sha256: str) -> bool:
        """See ObjectStore.has."""
        return _is_digest(sha256) and not self.missing([sha256])

    def missing(self, wanted: Iterable[str]) -> set[str]:
        """See ObjectStore.missing."""
        asked = set(wanted)
        digits = {sha256.removeprefix("sha256:") for sha256 in asked if _is_digest(sha256)}
        with self._lock:
            digits -= self._waiting.keys()
        absent = self._run(_MISSING, [f"{each}\n".encode() for each in sorted(digits)]).split() if digits else []
        return {sha256 for sha256 in asked if not _is_digest(sha256)} | {f"sha256:{each.decode()}" for each in absent}

    def put(self, data: bytes) -> str:
        """See ObjectStore.put."""
        digits = hashlib.sha256(data).hexdigest()
        with self._lock:
            self._waiting[digits] = data
            waiting = self._take() if not self._batches or self._is_full() else {}
        self._send(waiting)
        return "sha256:" + digits

    def put_file(self, source: Path | int, sha256: str | None = None) -> str:
        """See ObjectStore.put_file. A large file is read twice: its name there is its digest."""
        with copying.opened(source) as fd, copying.unchanged(fd, source):
            size = os.fstat(fd).st_size
            if size <= copying.SMALL:
                data = copying.read_all(fd, size)
                found = "sha256:" + hashlib.sha256(data).hexdigest()
            else:
                data, found = None, "sha256:" + copying.digest_of(fd)
                os.lseek(fd, 0, os.SEEK_SET)
            if sha256 not in (None, found):
                raise ChangedError(f"{copying.named(source)} has digest {found}, not {sha256}; it was changed")
            if data is None:
                with durable.step(SENT):
                    self._run(_PUT, pieces=_headed(fd, found, size))
        return found if data is None else self.put(data)

    def open(self, sha256: str) -> BinaryIO:
        """See ObjectStore.open."""
        file = tempfile.TemporaryFile()  # noqa: SIM115  # the caller closes it
        try:
            self._fetch(sha256, file)
        except BaseException:
            file.close()
            raise
        file.seek(0)
        return cast("BinaryIO", file)

    def checkout(self, sha256: str, target: Path | int, *, executable: bool = False) -> None:
        """See ObjectStore.checkout."""
        fd = os.dup(target) if isinstance(target, int) else os.open(target, copying.CREATE, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                self._fetch(sha256, file)
                file.flush()
                os.fchmod(fd, 0o755 if executable else 0o644)
        except BaseException:
            if not isinstance(target, int):
                target.unlink(missing_ok=True)
            raise

    def list(self) -> Iterator[StoredObject]:
        """See ObjectStore.list."""
        for line in self._run(_LIST).decode("utf-8", "replace").splitlines():
            size, used, name = line.split(" ", 2)
            if _is_digest("sha256:" + name.replace("/", "")):
                yield StoredObject("sha256:" + name.replace("/", ""), int(size), float(used))

    def delete(self, sha256: str, *, unless_used_since: float | None = None) -> bool:
        """See ObjectStore.delete. Times there are whole seconds."""
        since = "" if unless_used_since is None else str(math.floor(unless_used_since))
        with durable.step(DELETED):
            code, _ = self._ask(_DELETE, _place(sha256), since, accept=(_ABSENT, _KEPT))
        return code == 0

    @contextmanager
    def batch(self) -> Iterator[None]:
        """See ObjectStore.batch."""
        with self._lock:
            self._batches += 1
        try:
            yield
        finally:
            with self._lock:
                self._batches -= 1
                waiting = self._take() if not self._batches else {}
            self._send(waiting)

    def _is_full(self) -> bool:
        return len(self._waiting) >= _BATCH_FILES or sum(map(len, self._waiting.values())) >= _BATCH_BYTES

    def _take(self) -> dict[str, bytes]:
        waiting, self._waiting = self._waiting, {}
        return waiting

    def _send(self, waiting: dict[str, bytes]) -> None:
        if waiting:
            pieces = (piece for digits, data in waiting.items() for piece in (f"{digits} {len(data)}\n".encode(), data))
            with durable.step(SENT):
                self._run(_PUT, pieces=pieces)

    def _fetch(self, sha256: str, file: IO[bytes]) -> None:
        if not _is_digest(sha256):
            raise AbsentError(f"{sha256} is no digest")
        hasher = hashlib.sha256()

        def take(piece: bytes) -> None:
            hasher.update(piece)
            file.write(piece)

        code, _ = self._ask(_GET, _place(sha256), accept=(_ABSENT,), take=take)
        if code == _ABSENT:
            raise AbsentError(f"{sha256} is not in the object store {self.address}")
        if hasher.hexdigest() != sha256.removeprefix("sha256:"):
            raise DamagedError(sha256, self.address)

    def _run(self, script: str, pieces: Iterable[bytes] = ()) -> bytes:
        return self._ask(script, pieces=pieces)[1]

    def _ask(
        self,
        script: str,
        *arguments: str,
        pieces: Iterable[bytes] = (),
        accept: tuple[int, ...] = (),
        take: Callable[[bytes], object] | None = None,
    ) -> tuple[int, bytes]:
        """Run a script there; its exit code, and what it said unless `take` took it.

        Raises:
            UnreachableError: ssh or the script failed; the text says at what.
        """
        words = " ".join(map(shlex.quote, ("sh", "-c", script, "sh", self._folder, *arguments)))
        with tempfile.TemporaryFile() as said:
            try:
                process = subprocess.Popen(
                    [*self._command, words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said
                )
            except FileNotFoundError as error:
                raise UnreachableError("ssh is not installed; apt-get install openssh-client") from error
            out = _exchange(process, pieces, take)
            said.seek(0)
            if process.returncode and process.returncode not in accept:
                raise UnreachableError(f"{self.address}: {_reason(said.read().decode('utf-8', 'replace'))}")
        return process.returncode, out


def _shared_connection(config: str) -> tuple[str, ...]:
    """Options that let calls share one connection, which ends by itself; none where no folder is ours alone."""
    above = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    folder = Path(above, f"fetchml-ssh-{os.getuid()}")
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        return ()
    name = hashlib.sha256(os.path.realpath(config).encode()).hexdigest()[:8] if config else "own"
    return ("-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/{name}-%C", "-o", f"ControlPersist={_IDLE}")


def _exchange(
    process: "subprocess.Popen[bytes]", pieces: Iterable[bytes], take: Callable[[bytes], object] | None
) -> bytes:
    """Write the pieces and read the answer at the same time, so that neither waits for the other for ever."""
    assert process.stdin is not None  # noqa: S101  # both are pipes
    assert process.stdout is not None  # noqa: S101  # both are pipes
    failure: list[BaseException] = []
    writer = threading.Thread(target=_write, args=(process.stdin, pieces, failure), daemon=True)
    writer.start()
    kept: list[bytes] = []
    keep = take or kept.append
    try:
        while piece := process.stdout.read(_PIECE):
            keep(piece)
        writer.join()
        process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()
    if failure:
        raise failure[0]
    return b"".join(kept)


def _write(stdin: IO[bytes], pieces: Iterable[bytes], failure: "list[BaseException]") -> None:
    try:
        with stdin:
            for piece in pieces:
                stdin.write(piece)
    except BrokenPipeError:
        pass  # the other side ended; its exit code and words say why
    except BaseException as error:  # noqa: BLE001  # raised again where the answer is read
        failure.append(error)


def _headed(fd: int, sha256: str, size: int) -> Iterator[bytes]:
    """A file with its head; never more bytes than were announced."""
    yield f"{sha256.removeprefix('sha256:')} {size}\n".encode()
    while size and (piece := os.read(fd, min(_PIECE, size))):
        yield piece
        size -= len(piece)


def _is_digest(sha256: str) -> bool:
    return re.fullmatch("sha256:[0-9a-f]{64}", sha256) is not None


def _place(sha256: str) -> str:
    digits = sha256.removeprefix("sha256:")
    return f"{digits[:2]}/{digits[2:]}"


def _reason(said: str) -> str:
    """What to tell from the words of ssh or of the script."""
    if "IDENTIFICATION HAS CHANGED" in said:
        return (
            "the host's key has changed, which may mean that somebody else answers; ask its administrator, and only "
            "then remove the old key with ssh-keygen -R"
        )
    if "host key" in said.lower() and "verif" in said.lower():
        return "the host's key is not known; compare it with what its administrator says, and add it to known_hosts"
    lines = [line for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "ssh ended without saying why"
