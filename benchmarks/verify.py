"""Verifying a finished run: signature, statement, manifest, plan, spec, verdict, level; results are not read again.

Promises: the run is a real one (`ml init`, `ml run`); the library call and the whole command are measured in turn, the
command beside the imports that it cannot do without: the models, and the library that knows DSSE and Ed25519.
Does not: hash results; what that costs is the row of `hashing`.
"""

import os
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from benchmarks.rows import QUICK_ROUNDS, ROUNDS, Row, at_most, interleaved, spread
from controller.identity.run_folder import run_folder
from controller.identity.trust_folder import read_trust
from controller.trust.verify import verified, verify_run

NAME = "verify"
ML = str(Path(sys.executable).with_name("ml"))
_LIMIT = 150.0
"""Milliseconds."""
_IMPORTS = (
    "import os; os.environ['PYDANTIC_DISABLE_PLUGINS'] = '__all__'; "
    "import click, controller.api.documents, controller.api.manifest, securesystemslib.dsse"
)


def _environment(folder: Path) -> dict[str, str]:
    name = {"GIT_AUTHOR_NAME": "b", "GIT_AUTHOR_EMAIL": "b@example.org"}
    name |= {key.replace("AUTHOR", "COMMITTER"): value for key, value in name.items()}
    return {**os.environ, **name, "XDG_DATA_HOME": str(folder / "data"), "FETCHML_CONFIG": str(folder / "none.toml")}


def _process(words: list[str], folder: Path) -> float:
    begin = time.perf_counter()
    subprocess.run(words, cwd=folder, check=True, capture_output=True, env=_environment(folder.parent))
    return (time.perf_counter() - begin) * 1000


def _call(folder: Path, trust: Path, *, rehash: bool) -> float:
    begin = time.perf_counter()
    checks = verify_run(run_folder(folder), read_trust(trust), rehash=rehash)
    took = (time.perf_counter() - begin) * 1000
    if not verified(checks):
        raise RuntimeError("the run does not verify")
    return took


def rows(quick: bool = False) -> tuple[Row, ...]:
    """Milliseconds of the call, and of the whole command."""
    with tempfile.TemporaryDirectory(prefix="fetchml-bench-") as name:
        root = Path(name).resolve() / "repository"
        root.mkdir()
        commands = ([ML, "init"], ["git", "add", "-A"], ["git", "commit", "-qm", "x"], [ML, "run", "specs/first.yaml"])
        for words in commands:
            _process(words, root)
        (folder,) = (root / ".fetchml" / "experiments").iterdir()
        seen = interleaved(
            {
                "imports": partial(_process, [sys.executable, "-c", _IMPORTS], root),
                "command": partial(_process, [ML, "verify", str(folder), "--no-rehash"], root),
                "call": partial(_call, folder, root / "trust", rehash=False),
            },
            QUICK_ROUNDS if quick else ROUNDS,
        )
    spreads = {what: spread(values) for what, values in seen.items()}
    call, command = spreads["call"], spreads["command"]
    within = partial(at_most, limit=_LIMIT, unit=" ms")
    return (
        Row("verify a run (library call)", "ms", call, goals=(within("verify", call.median),)),
        Row(
            "ml verify RUN --no-rehash", "ms", command, spreads["imports"], "imports of the models and of DSSE",
            goals=(within("above its imports", command.median - spreads["imports"].median),
                   within("whole command", command.median)),
        ),
    )  # fmt: skip
