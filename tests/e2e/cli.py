"""What the command line tests share: a repository as `ml init` makes it, the real `ml`, runs that wait for the test.

Promises: nothing is timed; a test that waits does so for what the program does, and fails after a generous limit.
"""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ML = str(Path(sys.executable).with_name("ml"))
LIMIT = 120.0

QUICK = "import os; print('hello from the run'); open(os.environ['FETCHML_RESULTS'] + '/out.txt', 'w').write('done')"
"""A program that ends at once."""
PATIENT = (
    "import os, time; print('waiting for go', flush=True); "
    "results = os.environ['FETCHML_RESULTS']; "
    "exec('while not os.path.exists(results + \"/go\"): time.sleep(0.05)'); "
    "print('went', flush=True)"
)
"""A program that waits until the test says go."""
FAILING = "import sys; print('it breaks'); sys.exit(3)"


def spec(name: str, code: str = QUICK, extra: str = "", namespace: str = "") -> str:
    """A spec without source that runs this program; allowed to run where the host isolates nothing."""
    where = f"\n  namespace: {namespace}" if namespace else ""
    return f"""\
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata:
  name: {name}{where}
spec:
  command: [python, -c, {json.dumps(code.replace("$", "$$"))}]
  resources: {{cpu: 100m, memory: 128Mi, disk: 16Mi}}
  reproducibility: {{minTrustLevel: L0}}
{extra}"""


def _stop(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Result:
    """What one command did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)


@dataclass
class Repo:
    """A repository and the command line in it."""

    root: Path
    environment: Mapping[str, str] = field(default_factory=dict)

    def ml(self, *words: str, code: int | None = 0, stdin: bytes = b"", **environment: str) -> Result:
        """Run `ml` to its end and check its exit code (None: any)."""
        done = subprocess.run(
            [ML, *words], cwd=self.root, env=self._env(environment), input=stdin, capture_output=True,
            timeout=LIMIT, check=False,
        )  # fmt: skip
        result = Result(done.returncode, done.stdout.decode(), done.stderr.decode())
        assert code in (None, result.code), f"ml {' '.join(words)}: exit {result.code}\n{result.out}{result.err}"
        assert "Traceback" not in result.err, result.err
        return result

    @contextmanager
    def started(self, *words: str, **environment: str) -> Iterator["subprocess.Popen[str]"]:
        """`ml` in the background; stopped at the end whatever happens."""
        process = subprocess.Popen(
            [ML, *words], cwd=self.root, env=self._env(environment), text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        try:
            yield process
        finally:
            _stop(process)

    def on_terminal(self, *words: str, **environment: str) -> Result:
        """Run `ml` on a pseudo-terminal; standard error is on it too."""
        ours, theirs = pty.openpty()
        env = self._env({"TERM": "xterm-256color", **environment})
        process = subprocess.Popen([ML, *words], cwd=self.root, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
        os.close(theirs)
        chunks = []
        try:
            while chunk := os.read(ours, 65536):
                chunks.append(chunk)
        except OSError:  # Linux says EIO when the other side is closed
            pass
        finally:
            os.close(ours)
        return Result(process.wait(), b"".join(chunks).decode(), "")

    def write(self, path: str, text: str) -> Path:
        """Write a file of the repository."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def git(self, *words: str) -> str:
        """Run git in the repository."""
        return subprocess.run(["git", *words], cwd=self.root, check=True, capture_output=True, text=True).stdout

    def phase(self, name: str) -> str:
        """Phase of an experiment; empty while nothing is known."""
        result = self.ml("status", name, "-o", "json", code=None)
        return str(result.json["items"][0]["phase"]) if result.code == 0 else ""

    def run_id(self, name: str) -> str:
        """The run of an experiment; empty before there is one."""
        result = self.ml("status", name, "-o", "json", code=None)
        return str(result.json["items"][0]["status"].get("run", {}).get("id", "")) if result.code == 0 else ""

    def until(self, what: Callable[[], Any]) -> Any:
        """Wait until `what` is true; what it gives."""
        end = time.monotonic() + LIMIT
        while time.monotonic() < end:
            if found := what():
                return found
            time.sleep(0.05)
        raise AssertionError("it did not happen")

    def running(self, name: str) -> str:
        """Wait until the run of a PATIENT experiment waits; its id."""
        run: str = self.until(lambda: self.run_id(name))
        log = self.folder(run) / "run.log"
        self.until(lambda: log.exists() and "waiting for go" in log.read_text())
        return run

    def go(self, run: str) -> None:
        """Let a PATIENT run end."""
        (self.folder(run) / "results" / "go").touch()

    def folder(self, run: str) -> Path:
        """Folder of a run."""
        return self.root / ".fetchml" / "experiments" / run

    def _env(self, more: Mapping[str, str]) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if key not in {"NO_COLOR", "COLUMNS"}}
        return {**kept, **self.environment, **more}


def read_until(stream: Any, text: str) -> str:
    """Read lines until one holds the text; everything read."""
    read = ""
    for line in stream:
        read += line
        if text in line:
            return read
    raise AssertionError(f"{text!r} never came:\n{read}")


def plain(text: str) -> str:
    """Without the control sequences of a terminal."""
    return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text).replace("\r", "")


def make_template(folder: Path) -> Path:
    """A repository as `ml init` leaves it, committed."""
    root = folder / "template"
    Repo(folder).ml("init", str(root))
    for words in (("add", "-A"), ("commit", "-qm", "First experiment")):
        Repo(root).git(*words)
    return root


def copy_of(template: Path, root: Path) -> Repo:
    """A repository of a test's own."""
    shutil.copytree(template, root, symlinks=True)
    return Repo(root)


INTERRUPT = signal.SIGINT
