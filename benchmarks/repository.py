"""A small git repository with code, a lock, a dataset and two specs.

Promises: the same content every time. Does not: run anything of ours.
"""

import hashlib
import subprocess
from pathlib import Path

_LOCK = b"# nothing to install\n"
_BARE = """\
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata: {name: bare}
spec:
  command: [date, "+%s%N"]
  seed: SEED
  resources: {cpu: "1", memory: 256Mi, disk: 16Mi}
"""
_CODE = f"""\
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata: {{name: code}}
spec:
  source: {{git: {{path: code}}}}
  environment: {{dependencies: {{manifest: requirements.lock, sha256: "sha256:{hashlib.sha256(_LOCK).hexdigest()}"}}}}
  command: [date, "+%s%N"]
  datasets: [{{name: numbers, uri: "file:numbers.csv", sha256: "sha256:{hashlib.sha256(b"1,2").hexdigest()}"}}]
  seed: SEED
  reproducibility: {{policy: relaxed}}
  resources: {{cpu: "1", memory: 256Mi, disk: 16Mi}}
"""
SPECS = {"bare": _BARE, "code": _CODE}
"""Without code; with code of a commit, an environment from a lock, and a dataset (relaxed: a save is not committed)."""


def spec_text(name: str, seed: int) -> str:
    """One of SPECS."""
    return SPECS[name].replace("SEED", str(seed))


def make_repository(root: Path) -> None:
    """Fill `root`, which does not exist, and commit; specs/code.yaml is committed, the other is not there."""
    (root / "code").mkdir(parents=True)
    (root / "specs").mkdir()
    (root / "code" / "train.py").write_text("print('hello')\n")
    (root / "code" / "requirements.lock").write_bytes(_LOCK)
    (root / "numbers.csv").write_text("1,2")
    (root / ".gitignore").write_text(".fetchml/\n")
    (root / "specs" / "code.yaml").write_text(spec_text("code", 0))
    who = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
    for words in (("init", "-q"), ("add", "-A"), (*who, "commit", "-q", "-m", "code")):
        subprocess.run(["git", "-C", root, *words], check=True)
