"""The one place that starts git.

Promises: no hook, filter, pager, helper, alias, submodule or network of a hostile repository configuration runs:
every call has the same scrubbed environment and overriding settings; objects that are read are checked against their
id. Only a `Remote` lets a call speak to a network, with the one protocol that its address names and without the
programs and redirects that an address could smuggle in. Does not: judge an address (addresses.py does).

git itself is used rather than GitPython: importing GitPython costs 110 ms on each `ml explain`, a git process 2.5 ms,
and GitPython's own `git cat-file` processes would run with the caller's environment and the repository's settings.
"""

import contextlib
import hashlib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Self

TIMEOUT = 120.0
"""Seconds after which a git process is given up."""

# Settings of the repository that could start a program or change an answer, overridden on every call.
_SETTINGS = (
    "advice.graftFileDeprecated=false",
    "core.askPass=",
    "core.attributesFile=/dev/null",
    "core.editor=false",
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
    "core.sshCommand=false",
    "core.quotePath=false",
    "credential.helper=",
    "diff.external=",
    "diff.orderFile=/dev/null",
    "fetch.recurseSubmodules=false",
    "log.showRoot=true",
    "log.showSignature=false",
    "submodule.recurse=false",
)

_ENVIRONMENT = {
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_ASKPASS": "false",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_EDITOR": "false",
    "GIT_GRAFT_FILE": "/dev/null",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_PAGER": "cat",
    "GIT_SSH_COMMAND": "false",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
    "SSH_ASKPASS": "false",
}

# The user's own global configuration stays in force: safe.directory and core.excludesFile are theirs to set.
_KEPT = ("PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")


_ENDED = "git cat-file ended early; run git fsck"


class GitError(Exception):
    """git refused or failed; the text is its own sentence, `errors` all it said."""

    def __init__(self, text: str, errors: str = "") -> None:
        self.errors = errors or text
        super().__init__(text)


@dataclass(frozen=True, slots=True)
class Remote:
    """Another repository that a git process may speak to."""

    url: str
    protocol: str
    """The only one that is allowed: file (a path on this host), https, http (this host only) or ssh."""

    @property
    def settings(self) -> tuple[str, ...]:
        """Settings that differ from those of a process without network."""
        return (
            "http.followRedirects=false",
            "http.lowSpeedLimit=1000",
            "http.lowSpeedTime=30",
            "transfer.bundleURI=false",
        )

    @property
    def environment(self) -> dict[str, str]:
        """Variables that differ. Credentials are those of the operator's own git and ssh configuration."""
        kept = {name: os.environ[name] for name in _KEPT_FOR_NETWORK if name in os.environ}
        return {
            **kept,
            "GIT_ALLOW_PROTOCOL": self.protocol,
            "GIT_SSH_COMMAND": _SSH if self.protocol == "ssh" else "false",
        }

    @property
    def far_side(self) -> tuple[str, str]:
        """--upload-pack and --receive-pack: where the far side is a process on this host, no hook and no program of
        that repository's configuration runs in it."""
        if self.protocol != "file":
            return "--upload-pack=git-upload-pack", "--receive-pack=git-receive-pack"
        settings = " ".join(f"-c {setting}" for setting in _FAR_SETTINGS)
        return f"--upload-pack=git {settings} upload-pack", f"--receive-pack=git {settings} receive-pack"


_KEPT_FOR_NETWORK = (
    *("SSH_AUTH_SOCK", "GIT_SSL_CAINFO", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "all_proxy"),
)
_SSH = (
    "ssh -oBatchMode=yes -oStrictHostKeyChecking=yes -oConnectTimeout=15 -oServerAliveInterval=15 "
    "-oPermitLocalCommand=no -oClearAllForwardings=yes"
)
_FAR_SETTINGS = (
    *("core.hooksPath=/dev/null", "core.fsmonitor=false", "core.alternateRefsCommand=true", "gc.auto=0"),
    *("receive.autogc=false", "receive.procReceiveRefs="),
)
_CREDENTIALS = "credential.helper="


def environment(top: str, remote: Remote | None = None) -> dict[str, str]:
    """The whole environment of a git process that works on the work tree, or bare repository, `top`."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    bare = os.path.exists(os.path.join(top, "HEAD")) and not os.path.lexists(os.path.join(top, ".git"))  # noqa: PTH110, PTH118  # on every call
    place = {"GIT_DIR": top} if bare else {"GIT_WORK_TREE": top}
    return {**kept, **_ENVIRONMENT, **place, **(remote.environment if remote else {})}


def command(top: str, arguments: Sequence[str], remote: Remote | None = None) -> list[str]:
    """The whole command line."""
    mine = _SETTINGS if remote is None else (*(s for s in _SETTINGS if s != _CREDENTIALS), *remote.settings)
    settings = [word for setting in mine for word in ("-c", setting)]
    return ["git", "--no-pager", "-C", top, *settings, *arguments]


def start(
    top: str, arguments: Sequence[str], *, talk: bool = False, remote: Remote | None = None, keep: tuple[int, ...] = ()
) -> subprocess.Popen[bytes]:
    """A running git process with pipes for output and errors, and one for input when we are to `talk`.

    Args:
        top: work tree or bare repository.
        arguments: of git.
        talk: give it a pipe for input.
        remote: the repository that it may speak to; none without.
        keep: descriptors that it inherits.

    Raises:
        GitError: git is not installed, or the folder is gone.
    """
    pipe = subprocess.PIPE
    words, env = command(top, arguments, remote), environment(top, remote)
    try:
        return subprocess.Popen(
            words,
            env=env,
            stdin=pipe if talk else subprocess.DEVNULL,
            stdout=pipe,
            stderr=pipe,
            pass_fds=keep,
            process_group=0 if remote else None,
        )
    except FileNotFoundError as error:
        raise GitError("git is not installed; install it (Debian: apt-get install git)") from error
    except OSError as error:
        raise GitError(f"git cannot be started: {error.strerror}") from error


def git(top: str, *arguments: str, ok: tuple[int, ...] = (0,)) -> tuple[int, bytes]:
    """Run git on the work tree `top`; returns its exit status and output.

    Raises:
        GitError: the exit status is not in `ok`, or it took longer than TIMEOUT.
    """
    with Asked(top, *arguments) as asked:
        return asked.answer(ok)


class Asked:
    """A git process that works while the caller does something else. Use as a context manager; `answer` once."""

    def __init__(
        self,
        top: str,
        *arguments: str,
        data: bytes | None = None,
        remote: Remote | None = None,
        keep: tuple[int, ...] = (),
    ) -> None:
        self._what = arguments[0]
        self._data = data
        self._alone = remote is not None
        self._process = start(top, arguments, talk=data is not None, remote=remote, keep=keep)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.returncode is None:
            if self._alone:  # its ssh too, which would keep our pipes open
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.kill()
            self._process.communicate()

    def answer(self, ok: tuple[int, ...] = (0,)) -> tuple[int, bytes]:
        """Its exit status and output (errors as for `git`)."""
        try:
            output, errors = self._process.communicate(self._data, timeout=TIMEOUT)
        except subprocess.TimeoutExpired as error:
            raise GitError(f"git {self._what} took longer than {TIMEOUT:.0f} s") from error
        if self._process.returncode not in ok:
            said = errors.decode(errors="replace") + output.decode(errors="replace")[-4096:]
            raise GitError(sentence(errors) or f"git {self._what} ended with status {self._process.returncode}", said)
        return self._process.returncode, output


def sentence(errors: bytes) -> str:
    """The first line of git's complaint, without its prefix."""
    lines = [line for line in errors.decode(errors="replace").splitlines() if line and not line.startswith("hint:")]
    return lines[0].removeprefix("fatal: ").removeprefix("error: ")[:300] if lines else ""


class ObjectTooLargeError(Exception):
    """An object has more bytes than were asked for."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"the object has {size} bytes")


class Objects:
    """One `git cat-file --batch` process: objects by name, each checked against its id (one round trip of 30 us each).

    Use as a context manager; not for several threads.
    """

    def __init__(self, top: str) -> None:
        self._process = start(top, ["cat-file", "--batch"], talk=True)
        self._in: IO[bytes] = self._process.stdin  # type: ignore[assignment]  # opened as a pipe
        self._out: IO[bytes] = self._process.stdout  # type: ignore[assignment]  # opened as a pipe
        self._err = self._process.stderr.fileno() if self._process.stderr else -1
        os.set_blocking(self._err, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def copy(
        self, name: str, write: Callable[[bytes], object], limit: int | None = None
    ) -> tuple[str, str, int] | None:
        """Stream the object `name` (an id, or COMMIT:path) to `write`; its (id, type, size), or None when absent.

        Raises:
            ObjectTooLargeError: it has more than `limit` bytes; this process cannot be asked any more.
            GitError: the object is corrupt (its bytes do not have its id), or git died on it.
        """
        if "\n" in name:
            return None
        header = self._ask(name).split()
        if len(header) != 3:
            return None
        oid, kind, size = header[0].decode(), header[1].decode(), int(header[2])
        if limit is not None and size > limit:
            self._process.kill()
            raise ObjectTooLargeError(size)
        digest = hashlib.sha1(b"%s %d\0" % (header[1], size), usedforsecurity=False)
        self._pieces(size, digest.update, write)
        if digest.hexdigest() != oid:
            raise GitError(f"object {oid} is corrupt: its bytes have another id; run git fsck")
        return oid, kind, size

    def get(self, name: str) -> tuple[str, str, bytes] | None:
        """(id, type, bytes) of an object, or None when it does not exist (errors as for `copy`)."""
        pieces: list[bytes] = []
        found = self.copy(name, pieces.append)
        return None if found is None else (found[0], found[1], b"".join(pieces))

    def blob(self, name: str) -> bytes | None:
        """The bytes of a blob; None when there is no such blob."""
        found = self.get(name)
        return found[2] if found and found[1] == "blob" else None

    def _ask(self, name: str) -> bytes:
        try:
            self._in.write(os.fsencode(name) + b"\n")
            self._in.flush()
        except BrokenPipeError as error:
            raise GitError(self._died()) from error
        line = self._out.readline()
        if not line:
            raise GitError(self._died())
        if line.endswith((b" missing\n", b" ambiguous\n")):
            self._complain()
            return b""
        return line

    def _complain(self) -> None:
        """git calls a damaged object missing too, but then it has said more (before it answered)."""
        with contextlib.suppress(BlockingIOError):
            complaint = sentence(os.read(self._err, 4096))
            if complaint:
                raise GitError(complaint)

    def _pieces(self, size: int, *sinks: Callable[[bytes], object]) -> None:
        left = size
        while left:
            piece = self._out.read(min(left, 1 << 20))
            if not piece:
                raise GitError(self._died())
            for sink in sinks:
                sink(piece)
            left -= len(piece)
        self._out.read(1)

    def _died(self) -> str:
        self._process.wait(TIMEOUT)
        with contextlib.suppress(BlockingIOError):
            return sentence(os.read(self._err, 4096)) or _ENDED
        return _ENDED
