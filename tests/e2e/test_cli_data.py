"""`ml sync` and `ml dataset` as a user meets them."""

import hashlib
import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.e2e.cli import INTERRUPT, Repo, plain


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """A repository with a little code and data."""
    root = tmp_path / "repo"
    (root / ".git").mkdir(parents=True)
    made = Repo(root)
    made.write("code/main.py", "print(1)\n")
    made.write("code/.mlignore", "*.log\n")
    made.write("code/a.log", "noise")
    made.write("rows.jsonl", '{"n": 1}\n{"n": 2}\n')
    return made


def test_sync_prints_the_digest_alone(repo: Repo) -> None:
    first = repo.ml("sync", "code")
    assert first.out.startswith("sha256:")
    assert len(first.out.strip()) == 71
    assert "2 files" in first.err
    again = repo.ml("sync", "code", "-o", "json").json
    assert (again["apiVersion"], again["kind"]) == ("fetchml.dev/v1alpha1", "Snapshot")
    assert (again["sha256"], again["sent"]) == (first.out.strip(), 0)
    assert repo.ml("sync", "code", "--rehash").out == first.out


def test_sync_says_what_it_cannot_take(repo: Repo) -> None:
    assert "no such folder" in repo.ml("sync", "nothing", code=5).err
    assert "write s3://bucket/prefix, ssh://host/folder or a folder" in repo.ml("sync", "--to", "ftp://x", code=2).err
    (repo.root / "code" / "link").symlink_to("main.py")
    refused = repo.ml("sync", "code", code=4)
    assert "'link' is a symlink" in refused.err
    assert ".mlignore" in refused.err


def test_sync_follows_changes_until_it_is_interrupted(repo: Repo) -> None:
    with repo.started("sync", "code", "--watch", "-o", "json") as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        repo.write("code/new.py", "print(2)\n")
        second = json.loads(process.stdout.readline())
        assert second["sha256"] != first["sha256"]
        assert second["files"] == first["files"] + 1
        process.send_signal(INTERRUPT)
        assert process.wait(timeout=60) == 130
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_a_dataset_from_adding_to_exporting(repo: Repo) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    repo.write("row.schema.json", json.dumps(schema))
    words = ("dataset", "add", "rows.jsonl", "--schema", "row.schema.json", "--label", "project=vision")
    added = repo.ml(*words, "--description", "Two rows", "--licence", "CC0-1.0")
    digest = "sha256:" + hashlib.sha256(b'{"n": 1}\n{"n": 2}\n').hexdigest()
    assert added.out == f"dataset:rows@1  {digest}\n"
    repo.ml("validate", "specs")
    entry = (repo.root / "specs" / "rows.dataset.yaml").read_bytes()
    repo.ml(*words, "--description", "Two rows", "--licence", "CC0-1.0")
    assert (repo.root / "specs" / "rows.dataset.yaml").read_bytes() == entry, "the same bytes change nothing"

    repo.write("rows.jsonl", '{"n": "x"}\n')
    refused = repo.ml("dataset", "add", "rows.jsonl", code=4)
    assert "row 1: n: 'x' is not of type 'integer'" in refused.err
    assert (repo.root / "specs" / "rows.dataset.yaml").read_bytes() == entry
    repo.write("rows.jsonl", '{"n": 3}\n')
    assert repo.ml("dataset", "add", "rows.jsonl").out.startswith("dataset:rows@2  ")
    taken = repo.ml("dataset", "add", "rows.jsonl", "--version", "1", code=5)
    assert "version 1 of rows is" in taken.err

    shown = repo.ml("dataset", "show", "rows@1", "-o", "json").json
    assert (shown["shown"], shown["stores"]) == ("1", {"here": True})
    assert repo.ml("dataset", "list", "two", "-l", "project=vision", "-o", "name").out == "rows\n"
    assert "no such dataset" in repo.ml("dataset", "list", "three").out
    assert repo.ml("dataset", "verify", "rows@1", "-o", "json").json["filesWithRows"] == 1
    assert "did you mean rows?" in repo.ml("dataset", "verify", "row", code=5).err

    repo.ml("dataset", "export", "rows@1", "--data", "out")
    assert (repo.root / "out" / "data" / "rows.jsonl").read_bytes() == b'{"n": 1}\n{"n": 2}\n'
    croissant = json.loads((repo.root / "out" / "croissant.json").read_bytes())
    assert croissant["distribution"][0]["sha256"] == digest[7:]
    copied = repo.ml("dataset", "add", "out/croissant.json", "--croissant", "--name", "copy")
    assert copied.out == f"dataset:copy@1  {digest}\n"


def test_an_entry_that_was_edited_is_left_alone(repo: Repo) -> None:
    repo.ml("dataset", "add", "rows.jsonl")
    file = repo.root / "specs" / "rows.dataset.yaml"
    mine = "# my words\n" + file.read_text()
    file.write_text(mine)
    repo.write("rows.jsonl", "new\n")
    refused = repo.ml("dataset", "add", "rows.jsonl", code=4)
    assert "edited by hand" in refused.err
    assert 'version: "2"' in refused.err, "what to write into it"
    assert file.read_text() == mine


def test_a_pointer_is_not_taken_for_data(repo: Repo) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 12345\n"
    repo.write("data/model.bin", pointer)
    for source in ("data/model.bin", "data"):
        assert "git lfs pull" in repo.ml("dataset", "add", source, "--name", "model", code=4).err
    assert not (repo.root / "specs").exists()


@pytest.fixture
def web(repo: Repo, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A web server with the repository's rows."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = partial(SimpleHTTPRequestHandler, directory=str(repo.root))
    serving = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{serving.server_address[1]}/rows.jsonl"
    serving.shutdown()
    serving.server_close()


def test_data_from_the_web(repo: Repo, web: str) -> None:
    digest = "sha256:" + hashlib.sha256((repo.root / "rows.jsonl").read_bytes()).hexdigest()
    assert "--sha256" in repo.ml("dataset", "add", web, code=2).err
    assert "nothing of it was kept" in repo.ml("dataset", "add", web, "--sha256", "sha256:" + "a" * 64, code=4).err
    assert "2 are allowed" in repo.ml("dataset", "add", web, "--sha256", digest, "--max-size", "2", code=4).err
    repo.write(
        "specs/web.yaml",
        f"""\
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata: {{name: web}}
spec:
  command: [cat, $(data.rows)]
  datasets: [{{name: rows, uri: "{web}", sha256: "{digest}"}}]
  resources: {{cpu: 100m, memory: 64Mi, disk: 1Mi}}
  reproducibility: {{minTrustLevel: L0}}
""",
    )
    waiting = repo.ml("explain", "specs/web.yaml", code=8)
    assert "DatasetNotFound" in waiting.out
    assert "ml dataset prefetch" in waiting.out
    assert repo.ml("dataset", "prefetch", "specs/web.yaml").out.startswith(web)
    assert "DatasetNotFound" not in repo.ml("explain", "specs/web.yaml", code=None).out
    assert repo.ml("dataset", "add", web, "--sha256", digest, "--name", "web").out == f"dataset:web@1  {digest}\n"


def test_names_are_completed(repo: Repo) -> None:
    repo.ml("dataset", "add", "rows.jsonl")
    done = repo.ml(code=None, _ML_COMPLETE="bash_complete", COMP_WORDS="ml dataset show ro", COMP_CWORD="3")
    assert "rows" in plain(done.out)
