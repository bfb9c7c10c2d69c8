"""Follow one container's output into run.log, in a thread of its own.

Promises: what is in the log already is skipped, so that a log goes on after a restart of reconciler or engine; of all
followers of a log one writes (a lock on the file); redacted and capped. Does not: decide what an end means.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from controller.runtimes.container.engine import Engine, EngineError
from controller.runtimes.container.output import End, Output

PAUSE = 0.2
"""Seconds until an engine that does not answer is asked again."""


class Follower(threading.Thread):
    """`ended` is true once the stream is complete and the log is durable."""

    def __init__(
        self,
        engine: Engine,
        name: str,
        log: Path,
        cap: int,
        secrets: list[bytes] | None,
        begun: Callable[[bytes], None],
        done: Callable[[], None],
    ) -> None:
        super().__init__(name=f"log of {name}", daemon=True)
        self._engine, self._container, self._log, self._cap = engine, name, log, cap
        self._secrets, self._begun, self._done = secrets, begun, done
        self._leave = threading.Event()
        self.ended = False
        self.end: End | None = None
        self.facts: bytes | None = None
        self.error = ""

    def leave(self) -> None:
        """Stop following soon; nothing more is written once this follower has noticed."""
        self._leave.set()

    def run(self) -> None:
        """Until the container has ended and everything is in the log."""
        try:
            self._follow()
        except (OSError, ValueError) as error:
            self.error = str(error)
        finally:
            self._done()

    def _follow(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.open(self._log, flags, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            while not self._leave.is_set() and not self._once(file):
                self._leave.wait(PAUSE)
            os.fsync(file)
        finally:
            os.close(file)

    def _once(self, file: int) -> bool:
        """Read the stream from its beginning; False when it broke off before the container's end."""
        output = Output(self._secrets or [])
        sink = _Sink(file, self._cap if self._secrets is not None else 0)  # what cannot be redacted is not shown
        try:
            for data in self._engine.logs(self._container):
                if self._leave.is_set():
                    return False
                sink.write(output.feed(data))
                self._tell(output)
            if self._engine.running(self._container):
                return False
        except EngineError:
            return False
        except LookupError:
            return True  # removed: there is nothing more to read
        sink.write(output.finish())
        self.end, self.ended = output.end, True
        return True

    def _tell(self, output: Output) -> None:
        if self.facts is None and output.facts is not None:
            self.facts = output.facts
            self._begun(output.facts)


class _Sink:
    """The log file: skips what it has, stops at the cap."""

    def __init__(self, file: int, cap: int) -> None:
        self._file, self._cap = file, cap
        self._skip = os.fstat(file).st_size
        self._seen = 0

    def write(self, data: bytes) -> None:
        if not data or self._seen > self._cap:
            return
        whole = data[: self._cap - self._seen]
        self._seen += len(data)
        if self._seen > self._cap:
            whole += b"\n[fetchml: the log is cut here, at %d bytes; the run goes on]\n" % self._cap
        new = whole[self._skip :]
        self._skip = max(0, self._skip - len(whole))
        view = memoryview(new)
        while view:
            view = view[os.write(self._file, view) :]


def ended_as(state: Mapping[str, Any], end: End | None, asked: Mapping[str, Any] | None) -> tuple[int | None, str, str]:
    """Exit code, reason and message of a container that has ended.

    `state` is the engine's; `end` the launcher's last line, None when it was killed from outside; `asked` what was
    asked for before (a stop, a deadline), whose reason stands.
    """
    code = int(state["ExitCode"])
    if asked is not None:
        return code, str(asked["reason"]), str(asked["message"])
    # The engine's word where it has one; Podman's never says so, but the cgroup that the launcher read does.
    if state.get("OOMKilled") or (end is not None and end.oom_kills and end.exit_code == 137):  # 128 + SIGKILL
        return code, "OutOfMemory", "the kernel killed it: its memory limit was reached"
    if end is None:
        return None, "RuntimeLost", "the container was ended from outside: by its engine, or by somebody else"
    return end.exit_code, "", ""
