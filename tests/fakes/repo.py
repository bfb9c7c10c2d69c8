"""A real git repository in a temporary folder, with one experiment in it."""

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from controller.api.documents import Document, load
from controller.api.experiment import Experiment, GitSource
from controller.facts.facts import GitFacts
from controller.inputs.local import InputSettings, LocalInputs
from controller.stores.objects import FileObjects

SPEC = """\
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata:
  name: hello
spec:
  source:
    git: {path: code}
  command: [python, train.py]
"""


@dataclass(frozen=True)
class Repo:
    """`root` holds specs/hello.yaml and code/; `git` and `commit` do what they say."""

    root: Path
    spec: str = "specs/hello.yaml"

    def git(self, *arguments: str, data: bytes | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run git as the user would; its output."""
        words = ["git", "-C", str(self.root), *arguments]
        environment = {**os.environ, **(env or {})}
        done = subprocess.run(words, input=data or b"", check=True, capture_output=True, env=environment, timeout=60)
        return done.stdout.decode(errors="surrogateescape").strip()

    def write(self, path: str, content: str | bytes) -> Path:
        """Write a file of the work tree."""
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)
        return place

    def commit(self, message: str = "more", **files: str) -> str:
        """Commit everything (after writing `files`, with / written as __); the new commit's id."""
        for name, content in files.items():
            self.write(name.replace("__", "/"), content)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)
        return self.git("rev-parse", "HEAD")

    def inputs(self, settings: InputSettings | None = None) -> LocalInputs:
        """The adapter under test."""
        base = self.root / ".fetchml"
        return LocalInputs(self.root, base, FileObjects(base / "objects"), settings)

    def document(self, name: str = "hello") -> Document:
        """The spec as it lies in the work tree."""
        found = load((self.root / self.spec).read_bytes(), self.spec)
        assert not found.problems, found.problems
        return next(document for document in found.documents if document.model.metadata.name == name)

    def source(self, name: str = "hello") -> GitSource | None:
        """source.git of the spec."""
        model = self.document(name).model
        assert isinstance(model, Experiment)
        return model.spec.source.git if model.spec.source else None

    def facts(self, name: str = "hello", settings: InputSettings | None = None) -> GitFacts:
        """Facts of the spec as it lies in the work tree."""
        facts = self.inputs(settings).git_facts(self.document(name), self.source(name))
        assert facts is not None
        return facts


def new_repo(root: Path, *options: str) -> Repo:
    """An initialised repository with nothing committed."""
    root.mkdir(parents=True, exist_ok=True)
    repo = Repo(root)
    repo.git("init", "-q", "-b", "main", *options)
    repo.write(".gitignore", ".fetchml/\nignored*\n")
    repo.write(repo.spec, SPEC)
    repo.write("code/train.py", "print('hello')\n")
    return repo


def ready_repo(root: Path) -> Repo:
    """A repository whose spec and code are committed."""
    repo = new_repo(root)
    repo.commit("first")
    return repo


def tree(repo: Repo, *lines: str) -> str:
    """A tree object of exactly these `git mktree` lines, however odd; its id."""
    return repo.git("mktree", "--missing", "-z", data="".join(line + "\0" for line in lines).encode())


def raw_tree(repo: Repo, *entries: tuple[str, bytes, str]) -> str:
    """A tree object of (mode, name, id), written without any of git's checks; its id."""
    data = b"".join(b"%b %b\0%b" % (mode.encode(), name, bytes.fromhex(oid)) for mode, name, oid in entries)
    return repo.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", data=data)


def blob(repo: Repo, content: bytes) -> str:
    """A blob; its id."""
    return repo.git("hash-object", "-w", "--stdin", data=content)


def commit_code(repo: Repo, code: str) -> str:
    """A commit on main whose code/ is the tree `code`, beside the committed spec; its id."""
    lines = [line for line in repo.git("ls-tree", "HEAD").splitlines() if not line.endswith("\tcode")]
    top = tree(repo, *lines, f"040000 tree {code}\tcode")
    commit = repo.git("commit-tree", top, "-p", "HEAD", "-m", "by hand")
    repo.git("update-ref", "refs/heads/main", commit)
    return commit
