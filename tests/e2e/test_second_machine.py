"""The digits example on a machine that shares nothing with the first but an object store.

The first machine syncs the code and adds the data; the second has the spec and the catalogue entry only: no code, no
data, no git history, records and keys of its own.
"""

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.e2e.cli import Repo

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "examples" / "digits"


def spec(snapshot: str) -> str:
    """The example's spec, with its code from a snapshot and its data from the catalogue."""
    text = (DIGITS / "digits-softmax.yaml").read_text()
    source = '    git: {repo: ".", path: examples/digits}   # the newest commit that changed this folder\n'
    data = (
        "      uri: file:examples/digits/data/digits.csv.gz\n"
        '      sha256: "sha256:09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22"\n'
    )
    assert source in text
    assert data in text
    return text.replace(source, f'    snapshot: "{snapshot}"\n').replace(data, "      uri: dataset:digits@1\n")


def machine(folder: Path, store: str, **environment: str) -> Repo:
    """A repository with keys and records of its own."""
    folder.mkdir()
    repo = Repo(
        folder / "repo",
        {"XDG_DATA_HOME": str(folder / "data"), "FETCHML_OBJECT_STORE": store, **environment},
    )
    repo.root.mkdir()
    repo.git("init", "-q", ".")
    repo.ml("key", "new")
    return repo


def second_machine(tmp_path: Path, store: str, **environment: str) -> None:
    """Both machines, and everything that a user would look at on the second."""
    first = machine(tmp_path / "first", store, **environment)
    shutil.copytree(DIGITS, first.root / "code", ignore=shutil.ignore_patterns("data", "*.yaml", ".fetchml"))
    shutil.copy(DIGITS / "data" / "digits.csv.gz", first.root / "digits.csv.gz")
    snapshot = first.ml("sync", "code", "--to", store).out.strip()
    added = first.ml("dataset", "add", "digits.csv.gz", "--label", "project=vision")
    assert added.out.startswith("dataset:digits@1  sha256:09f66e6d")
    first.write("specs/digits.yaml", spec(snapshot))

    second = machine(tmp_path / "second", store, **environment)
    shutil.copytree(first.root / "specs", second.root / "specs")
    shutil.rmtree(tmp_path / "first")
    explained = second.ml("explain", "specs/digits.yaml", "-o", "json", code=None).json
    wrong = [rule for rule in explained["preflight"]["rules"] if rule["verdict"] != "Pass"]
    assert wrong == [], explained["preflight"]
    assert explained["plan"]["datasets"][0]["sha256"].startswith("sha256:09f66e6d"), "the plan pins the entry's digest"
    assert explained["plan"]["source"] == {"snapshot": snapshot}
    second.ml("run", "specs/digits.yaml")
    run = second.run_id("digits-softmax")
    manifest = json.loads((second.folder(run) / "run_manifest.json").read_bytes())
    assert manifest["snapshot"] == snapshot
    assert manifest["metrics"]["last"]["accuracy"] > 0.8
    assert manifest["datasets"][0]["uri"] == "dataset:digits@1"
    assert manifest["datasets"][0]["sha256_after"] == manifest["datasets"][0]["sha256"]
    assert "verified" in second.ml("verify", "digits-softmax").out
    listed = second.ml("dataset", "list", "digit", "-l", "project=vision", "-o", "json").json
    assert [item["name"] for item in listed["items"]] == ["digits"]
    second.ml("dataset", "verify", "digits")


@pytest.mark.needs("git", "index", "minio")
def test_through_s3(tmp_path: Path) -> None:
    from tests.testbed.s3 import fresh_place

    place = fresh_place()
    second_machine(
        tmp_path,
        place.address,
        AWS_ENDPOINT_URL=place.endpoint,
        AWS_REGION=place.region,
        AWS_ACCESS_KEY_ID=place.access_key,
        AWS_SECRET_ACCESS_KEY=place.secret_key,
    )


def small(folder: Path, store: str, **environment: str) -> None:
    """The same with a program that needs no packages, so that only what travels is looked at."""
    first = machine(folder / "first", store, **environment)
    first.write("code/main.py", "import sys; print(open(sys.argv[1]).read())\n")
    first.write("rows.jsonl", '{"a": 1}\n')
    snapshot = first.ml("sync", "code", "--to", store).out.strip()
    first.ml("dataset", "add", "rows.jsonl", "--name", "rows")
    first.write("specs/small.yaml", SMALL.replace("SNAPSHOT", snapshot))
    second = machine(folder / "second", store, **environment)
    shutil.copytree(first.root / "specs", second.root / "specs")
    shutil.rmtree(folder / "first")
    second.ml("run", "specs/small.yaml")
    assert '{"a": 1}' in (second.folder(second.run_id("small")) / "run.log").read_text()


SMALL = f"""\
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata: {{name: small}}
spec:
  source: {{snapshot: "SNAPSHOT"}}
  environment: {{python: "{sys.version_info.major}.{sys.version_info.minor}"}}
  command: [python, main.py, $(data.rows)]
  datasets: [{{name: rows, uri: dataset:rows}}]
  resources: {{cpu: 100m, memory: 128Mi, disk: 16Mi}}
  reproducibility: {{minTrustLevel: L0}}
"""


@pytest.mark.needs("git")
def test_through_a_folder(tmp_path: Path) -> None:
    small(tmp_path, str(tmp_path / "shared"))


@pytest.mark.needs("git", "sshd")
def test_through_another_host(tmp_path: Path) -> None:
    from tests.testbed.sshd import server

    small(tmp_path, server().address(tmp_path / "there"), FETCHML_SSH_CONFIG=str(server().config))
