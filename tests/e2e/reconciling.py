"""A repository with the real `ml reconcile` at work on it, seen through its store and its standard error."""

import json
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.unit.reconcile.bench import experiment

ML = str(Path(sys.executable).with_name("ml"))
LIMIT = 120.0
SMALL = {"cpu": "50m", "memory": "16Mi", "disk": "1Mi"}


def spec(name: str, command: list[str], **more: Any) -> str:
    """A spec that runs a shell command, on any host."""
    fields = {"resources": SMALL, "reproducibility": {"minTrustLevel": "L0"}, **more}
    return experiment(name, command=command, **fields)


def patient(name: str, **more: Any) -> str:
    """A spec whose run goes on until it is stopped."""
    return spec(name, ["sleep", "600"], **more)


def quick(name: str, **more: Any) -> str:
    """A spec whose run ends at once."""
    return spec(name, ["sh", "-c", "echo done"], **more)


@dataclass
class Place:
    """A git repository with a specs folder."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)

    def make(self) -> "Place":
        """Create it, with a key."""
        (self.root / "specs").mkdir(parents=True)
        (self.root / "specs" / "README").write_text("what runs here\n")
        (self.root / ".gitignore").write_text(".fetchml/\n")
        self.git("init", "-q")
        self.environment["XDG_DATA_HOME"] = str(self.root.parent / "data")
        self.ml("key", "new")
        self.git("add", "-A")
        self.git("commit", "-qm", "first")
        return self

    def git(self, *words: str) -> None:
        """Run git here."""
        subprocess.run(["git", *words], cwd=self.root, check=True, capture_output=True)

    def save(self, name: str, text: str) -> Path:
        """Save specs/<name>.yaml as an editor does: beside it, then renamed."""
        path = self.root / "specs" / f"{name}.yaml"
        temporary = path.with_suffix(".new")
        temporary.write_text(text)
        temporary.replace(path)
        return path

    def env(self, **more: str) -> dict[str, str]:
        """For `ml`."""
        return {**os.environ, "NO_COLOR": "1", **self.environment, **more}

    def ml(self, *words: str, wrapper: tuple[str, ...] = (), **env: str) -> "subprocess.CompletedProcess[str]":
        """Run `ml` to its end."""
        done = subprocess.run(
            [*wrapper, ML, *words], cwd=self.root, env=self.env(**env), capture_output=True, text=True,
            timeout=LIMIT, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr, done.stderr
        return done

    @contextmanager
    def reconciling(self, *words: str, wrapper: tuple[str, ...] = ()) -> Iterator["Reconciler"]:
        """`ml reconcile specs` in the background until the block ends."""
        errors = self.root.parent / f"stderr-{time.monotonic_ns()}"
        with errors.open("w") as file:
            process = subprocess.Popen(
                [*wrapper, ML, "reconcile", "specs", *words], cwd=self.root, env=self.env(), stdout=file, stderr=file
            )
        running = Reconciler(self, process, errors)
        try:
            yield running
        finally:
            process.terminate()
            process.wait(timeout=LIMIT)
        assert "Traceback" not in running.said, running.said

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Ask the store."""
        store = self.root / ".fetchml" / "state.db"
        if not store.exists():
            return []
        connection = sqlite3.connect(f"file:{store}?mode=ro", uri=True)
        try:
            return connection.execute(sql, values).fetchall()
        except sqlite3.OperationalError:  # not made yet
            return []
        finally:
            connection.close()

    def status(self, name: str) -> dict[str, Any]:
        """The stored status; empty while there is none."""
        rows = self.rows("SELECT status FROM experiments WHERE name = ?", name)
        return json.loads(rows[0][0]) if rows and rows[0][0] else {}

    def phase(self, name: str) -> str:
        """Its summary."""
        return str(self.status(name).get("phase", ""))

    def states(self) -> list[str]:
        """State of every run, oldest first."""
        return [state for (state,) in self.rows("SELECT state FROM runs ORDER BY created_at")]

    def events(self) -> set[str]:
        """Reasons of all events."""
        return {reason for (reason,) in self.rows("SELECT reason FROM events")}

    def supervisors(self) -> int:
        """How many supervisors of this repository live."""
        count = 0
        for proc in Path("/proc").iterdir():
            if proc.name.isdigit():
                try:
                    words = (proc / "cmdline").read_bytes().split(b"\0")
                except OSError:
                    continue
                count += b"-S" in words and any(word.startswith(bytes(self.root)) for word in words)
        return count

    def stop_all(self) -> None:
        """End what a test left running."""
        with self.reconciling():
            for (run,) in self.rows("SELECT run_id FROM runs WHERE state = 'active'"):
                self.ml("cancel", run)
            until(lambda: "active" not in self.states(), "the end of all runs")


@dataclass
class Reconciler:
    """The process at work."""

    place: Place
    process: "subprocess.Popen[bytes]"
    errors: Path

    @property
    def said(self) -> str:
        """Standard output and error so far."""
        return self.errors.read_text()

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait while the process lives."""

        def or_dead() -> object:
            assert self.process.poll() is None, self.said
            return condition()

        until(or_dead, what, lambda: self.said)


def until(condition: Callable[[], object], what: str, context: Callable[[], str] = str) -> None:
    """Wait for something that happens."""
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end, f"{what} did not happen\n{context()}"
        time.sleep(0.05)
