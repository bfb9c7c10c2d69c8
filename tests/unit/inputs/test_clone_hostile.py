"""Repositories and addresses that want to run programs here, or to be read as something else.

Each guard is tried beside the same attack on plain git, so that no test passes because the attack is broken.
"""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from controller.api.experiment import GitSource
from controller.api.problems import InvalidDocumentError
from controller.inputs.addresses import checked_branch, looks_remote, remote_of
from controller.inputs.clone import Clone
from controller.inputs.cloned import CloneInputs
from controller.inputs.gitcmd import Asked, GitError, Remote
from controller.inputs.local import InputSettings
from controller.inventory.clock import SystemClock
from controller.ports.repository import FileTooLarge, RepositoryTroubleError
from controller.ports.source import Key
from controller.sources.git import Branches, BranchSource
from controller.stores.objects import FileObjects
from tests.fakes.source import spec
from tests.fakes.upstream import Upstream

pytestmark = pytest.mark.needs("git")

KEY = Key("Experiment", "default", "a")


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    """A repository with one spec and its code."""
    made = Upstream.make(tmp_path / "up.git")
    text = spec("a").replace("spec:\n", "spec:\n  source: {git: {path: code}}\n")
    made.put({"specs/a.yaml": text.encode(), "code/go.sh": b"echo hello\n"})
    return made


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """What no attack may create."""
    return tmp_path / "canary"


def program(canary: Path) -> str:
    """A program that creates the canary and does what a filter or hook does."""
    place = canary.with_name("program")
    place.write_text(f"#!/bin/sh\ntouch {canary}\ncat\n")
    place.chmod(0o755)
    return str(place)


def open_clone(upstream: Upstream) -> Clone:
    return upstream.clone(upstream.root.parent, SystemClock())


def everything(upstream: Upstream) -> BranchSource:
    """All that the reconciler does with a repository: fetch, list, read, facts, export, commit, push."""
    clone = open_clone(upstream)
    source = BranchSource(clone, Branches("main", "specs"), SystemClock())
    source.poll()
    base = upstream.root.parent / "base"
    inputs = CloneInputs(base, base, FileObjects(base / "objects"), InputSettings(), clone=clone.folder)
    for document in source.get(KEY):
        git = GitSource(path="code")
        facts = inputs.git_facts(document, git)
        assert facts
        assert facts.commit
        if not facts.hostile:
            inputs.export_source(document.file, git, facts.commit, base / "export" / facts.commit)
        assert source.write_status(document, {"phase": "Running"})
    assert source.flush() == 1
    assert b"phase: Running" in upstream.read("specs/a.yaml")
    return source


# --- what a repository on this host may hold ---


def _config(name: str) -> Callable[[Upstream, str], None]:
    return lambda upstream, program: upstream.git("config", name, program) and None


def _filters(upstream: Upstream, program: str) -> None:
    (upstream.root / "info").mkdir(exist_ok=True)
    (upstream.root / "info" / "attributes").write_text("* filter=evil diff=evil\n")
    for name in ("filter.evil.clean", "filter.evil.smudge", "filter.evil.process", "diff.evil.textconv"):
        upstream.git("config", name, program)


def _hooks(upstream: Upstream, program: str) -> None:
    for name in ("pre-receive", "update", "post-receive", "post-update", "reference-transaction", "push-to-checkout"):
        (upstream.root / "hooks").mkdir(exist_ok=True)
        (upstream.root / "hooks" / name).write_text(f"#!/bin/sh\n{program} </dev/null\n")
        (upstream.root / "hooks" / name).chmod(0o755)


def _hooks_path(upstream: Upstream, program: str) -> None:
    _hooks(upstream, program)
    elsewhere = upstream.root.parent / "elsewhere"
    (upstream.root / "hooks").rename(elsewhere)
    upstream.git("config", "core.hooksPath", str(elsewhere))


def _borrowed(upstream: Upstream, program: str) -> None:
    upstream.git("config", "core.alternateRefsCommand", program)
    other = Upstream.make(upstream.root.parent / "other.git")
    other.put({"x": b"x"})


def _push(upstream: Upstream) -> None:
    """What a careless tool does: clone, commit, push."""
    work = upstream.root.parent / "careless"
    for words in (
        ["git", "clone", "-q", str(upstream.root), str(work)],
        ["git", "-C", str(work), "commit", "-q", "--allow-empty", "-m", "x"],
        ["git", "-C", str(work), "push", "-q", "origin", "HEAD:refs/heads/careless"],
    ):
        subprocess.run(words, check=True, capture_output=True)


def _status(upstream: Upstream) -> None:
    """What a careless tool does: look at the repository with its own settings."""
    work = upstream.root.parent / "work"
    work.mkdir()
    where = ["git", "--git-dir", str(upstream.root), "--work-tree", str(work)]
    subprocess.run([*where, "checkout", "-q", "-f", "main"], check=True, capture_output=True)
    subprocess.run([*where, "status"], check=True, capture_output=True)


ATTACKS = {
    "hooks": (_hooks, _push),
    "hooks elsewhere": (_hooks_path, _push),
    "fsmonitor": (_config("core.fsmonitor"), _status),
    "filters and attributes": (_filters, _status),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_no_program_of_a_repository_on_this_host_runs(upstream: Upstream, canary: Path, name: str) -> None:
    attack, careless = ATTACKS[name]
    if name != "hooks":
        upstream.git("config", "core.bare", "false") if careless is _status else None
    attack(upstream, program(canary))
    careless(upstream)
    assert canary.exists(), "the attack itself does not work"
    canary.unlink()
    upstream.git("config", "core.bare", "true")
    everything(upstream)
    assert not canary.exists()


def test_a_template_of_the_user_is_not_copied(
    upstream: Upstream, canary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = canary.with_name("template")
    (template / "hooks").mkdir(parents=True)
    for name in ("reference-transaction", "pre-push"):
        (template / "hooks" / name).write_text(f"#!/bin/sh\n{program(canary)} </dev/null\n")
        (template / "hooks" / name).chmod(0o755)
    monkeypatch.setenv("GIT_TEMPLATE_DIR", str(template))
    _push(upstream)
    assert canary.exists(), "the attack itself does not work"
    canary.unlink()
    everything(upstream)
    assert not canary.exists()


def test_objects_that_are_borrowed_from_another_repository_are_not_served(upstream: Upstream, tmp_path: Path) -> None:
    """Whoever may write to a bare repository could lend themselves what only the reconciler may read."""
    private = Upstream.make(tmp_path / "private.git")
    secret = private.put({"code/secret": b"only for the operator"})
    (upstream.root / "objects" / "info" / "alternates").write_text(f"{private.root / 'objects'}\n")
    upstream.git("update-ref", "refs/heads/main", secret)
    subprocess.run(["git", "clone", "-q", "--no-local", upstream.root, tmp_path / "careless"], check=True)
    assert (tmp_path / "careless" / "code" / "secret").exists(), "the attack itself does not work"
    with pytest.raises(RepositoryTroubleError, match="borrows objects") as refused:
        open_clone(upstream)
    assert refused.value.reason == "RepositoryRefused"


def test_borrowing_that_begins_later_is_refused_too(upstream: Upstream, tmp_path: Path) -> None:
    clone = open_clone(upstream)
    assert clone.refresh("main")
    (upstream.root / "objects" / "info" / "alternates").write_text(f"{tmp_path}\n")
    with pytest.raises(RepositoryTroubleError, match="borrows objects"):
        clone.refresh("main")


# --- addresses and names ---


def _ask(remote: Remote, folder: Path) -> None:
    """What the clone does first, with whatever address."""
    with Asked(str(folder), "ls-remote", "--end-of-options", remote.url, remote=remote) as asked:
        asked.answer()


def test_a_transport_helper_runs_no_program(upstream: Upstream, canary: Path) -> None:
    address = f"ext::sh -c 'touch% {canary}'"
    careless = ["git", "-c", "protocol.ext.allow=always", "ls-remote", f"ext::touch {canary}"]
    subprocess.run(careless, check=False, capture_output=True)
    assert canary.exists(), "the attack itself does not work"
    canary.unlink()
    assert looks_remote(address)
    with pytest.raises(RepositoryTroubleError, match="helpers run programs"):
        remote_of(address)
    for protocol in ("file", "https", "http", "ssh"):  # and were one let through, git itself would refuse it
        with pytest.raises(GitError, match="not allowed"):
            _ask(Remote(f"ext::touch {canary}", protocol), upstream.root)
    assert not canary.exists()


def test_an_address_that_reads_as_an_option_is_none(upstream: Upstream, canary: Path) -> None:
    attack = f"--upload-pack=touch {canary};"
    subprocess.run(["git", "ls-remote", attack, str(upstream.root)], check=False, capture_output=True)
    assert canary.exists(), "the attack itself does not work"
    canary.unlink()
    with pytest.raises(RepositoryTroubleError, match="no address"):
        remote_of(attack)
    with pytest.raises(GitError):  # and were it let through, git would not take it for an option
        _ask(Remote(attack, "file"), upstream.root)
    assert not canary.exists()


@pytest.mark.parametrize(
    "address",
    [
        "",
        "-x",
        "--upload-pack=x",
        "ext::sh -c x",
        "fd::17/foo",
        "testgit::x",
        "file:///srv/x.git",
        "file://localhost/srv/x.git",
        "git://host/x.git",
        "ftp://host/x.git",
        "http://example.org/x.git",
        "https://user:secret@example.org/x.git",
        "https://token@example.org/x.git",
        "ssh://-oProxyCommand=x/x.git",
        "ssh://user@-oProxyCommand=x/x.git",
        "ssh://host/-x",
        "https:///x.git",
        "https://host:port/x.git",
        "https://host/x\n.git",
        "https://host/\x1b[2J.git",
        "-oProxyCommand=x:y",
        "user@host:-x",
    ],
)
def test_addresses_that_are_refused(address: str) -> None:
    with pytest.raises(RepositoryTroubleError) as refused:
        remote_of(address)
    assert refused.value.reason in ("RepositoryRefused", "RemoteUnreachable")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "protocol"),
    [
        ("https://example.org/x.git", "https"),
        ("ssh://git@example.org:2222/x.git", "ssh"),
        ("git@example.org:lab/x.git", "ssh"),
        ("http://127.0.0.1:8080/x.git", "http"),
    ],
)
def test_addresses_that_are_spoken_to_with_one_protocol(address: str, protocol: str) -> None:
    assert remote_of(address) == Remote(address, protocol)
    assert remote_of(address).environment["GIT_ALLOW_PROTOCOL"] == protocol


@pytest.mark.parametrize(
    "name", ["", "-x", "--exec=x", "a..b", "a b", "a~1", "a^", "a:b", "a?", "a*", "a[", "a\\b", "/a", "a/", "a//b",
             ".a", "a/.b", "a.lock", "a.", "@", "HEAD", "a@{1}", "a\x07", "x" * 201],
)  # fmt: skip
def test_names_that_are_no_branch(name: str) -> None:
    with pytest.raises(RepositoryTroubleError, match="no name of a branch"):
        checked_branch(name)


# --- what a commit may hold ---


def _looked(upstream: Upstream) -> BranchSource:
    source = BranchSource(open_clone(upstream), Branches("main", "specs"), SystemClock())
    source.change = source.poll()  # type: ignore[attr-defined]  # kept for the test
    return source


def _order(entry: tuple[str, bytes, str]) -> bytes:
    return entry[1] + b"/" if entry[0] == "40000" else entry[1]


def _tree_with(upstream: Upstream, *entries: tuple[str, bytes, str]) -> None:
    """A commit whose specs/ is exactly these entries, written without git's checks."""
    data = b"".join(
        b"%b %b\0%b" % (mode.encode(), name, bytes.fromhex(oid)) for mode, name, oid in sorted(entries, key=_order)
    )
    specs = upstream.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", data=data)
    root = b"40000 specs\0" + bytes.fromhex(specs)
    upstream.commit(upstream.git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", data=root), upstream.tip)


def test_a_symlinked_spec_is_not_followed(upstream: Upstream, tmp_path: Path) -> None:
    outside = tmp_path / "outside.yaml"
    outside.write_text(spec("outside"))
    link = upstream.git("hash-object", "-w", "--stdin", data=str(outside).encode())
    good = upstream.git("hash-object", "-w", "--stdin", data=spec("a").encode())
    _tree_with(upstream, ("100644", b"a.yaml", good), ("120000", b"link.yaml", link))
    work = tmp_path / "work"
    subprocess.run(["git", "clone", "-q", str(upstream.root), str(work)], check=True)
    assert "name: outside" in (work / "specs" / "link.yaml").read_text(), "the attack itself does not work"
    change = _looked(upstream).change  # type: ignore[attr-defined]  # see _looked
    assert {key.name for key in change.keys} == {"a"}
    assert "symlink" in change.invalid["specs/link.yaml"][0].message


@pytest.mark.parametrize("name", [b"..", b".git", b".GIT", b"git~1", b".git\xe2\x80\x8c"])
def test_names_that_lead_elsewhere_are_refused_and_the_neighbours_go_on(upstream: Upstream, name: bytes) -> None:
    good = upstream.git("hash-object", "-w", "--stdin", data=spec("a").encode())
    evil = upstream.git("hash-object", "-w", "--stdin", data=spec("evil").encode())
    folder = upstream.git(
        "hash-object", "-w", "-t", "tree", "--literally", "--stdin", data=b"100644 evil.yaml\0" + bytes.fromhex(evil)
    )
    _tree_with(upstream, ("40000", name, folder), ("100644", b"a.yaml", good))
    source = _looked(upstream)
    assert {key.name for key in source.change.keys} == {"a"}  # type: ignore[attr-defined]  # see _looked
    assert source.write_status(source.get(KEY)[0], {"phase": "Running"})
    assert source.flush() == 1
    assert b"phase: Running" in upstream.read("specs/a.yaml")
    kept = upstream.git("cat-file", "-p", "main:specs").encode("utf-8", "surrogateescape")
    assert b"040000 tree" in kept, "our commit dropped what it does not understand"


def test_a_submodule_is_neither_fetched_nor_read(upstream: Upstream, canary: Path) -> None:
    inner = Upstream.make(canary.with_name("inner.git"))
    commit = inner.put({"evil.yaml": spec("evil").encode()})
    good = upstream.git("hash-object", "-w", "--stdin", data=spec("a").encode())
    _tree_with(upstream, ("100644", b"a.yaml", good), ("160000", b"sub.yaml", commit))
    upstream.put({".gitmodules": f'[submodule "x"]\n\tpath = specs/sub.yaml\n\turl = ext::touch {canary}\n'.encode()})
    source = _looked(upstream)
    assert {key.name for key in source.change.keys} == {"a"}  # type: ignore[attr-defined]  # see _looked
    assert "submodule" in source.change.invalid["specs/sub.yaml"][0].message  # type: ignore[attr-defined]  # see _looked
    assert not canary.exists()


def test_names_that_differ_in_case_only_are_two_files(upstream: Upstream) -> None:
    """A checkout on a file system that folds case would mix them; nothing is checked out here."""
    upstream.put({"specs/A.yaml": spec("b").encode(), "specs/Ä.yaml": spec("c").encode(), "Specs/x.yaml": b"no"})
    source = _looked(upstream)
    assert {key.name for key in source.change.keys} == {"a", "b", "c"}  # type: ignore[attr-defined]  # see _looked
    for name in "abc":
        (document,) = source.get(KEY._replace(name=name))
        source.write_status(document, {"phase": name})
    source.flush()
    assert b"phase: a" in upstream.read("specs/a.yaml")
    assert b"phase: b" in upstream.read("specs/A.yaml")
    assert upstream.read("Specs/x.yaml") == b"no"


def test_a_huge_blob_is_refused_by_its_size_alone(upstream: Upstream, tmp_path: Path) -> None:
    """A gigabyte of zeros packs into a megabyte (TEST_HUGE_BLOB: its size); it must never be held in memory."""
    size = int(os.environ.get("TEST_HUGE_BLOB", "67108864"))  # 1 GiB takes a minute where CI runs
    piece = bytes(2**20)
    stream = subprocess.Popen(
        ["git", "-C", str(upstream.root), "-c", "core.bigFileThreshold=1m", "fast-import", "--quiet", "--done"],
        stdin=subprocess.PIPE,
    )
    assert stream.stdin
    stream.stdin.write(b"commit refs/heads/main\ncommitter A <a@b> 1 +0000\ndata 0\nfrom refs/heads/main^0\n")
    stream.stdin.write(b"M 100644 inline specs/huge.yaml\ndata %d\n" % size)
    for _ in range(size // len(piece)):
        stream.stdin.write(piece)
    stream.stdin.write(b"\ndone\n")
    stream.stdin.close()
    assert stream.wait() == 0
    source = _looked(upstream)
    problem = source.change.invalid["specs/huge.yaml"][0]  # type: ignore[attr-defined]  # see _looked
    assert problem.reason == "FileTooLarge"
    assert str(size) in problem.message
    assert source.get(KEY)
    assert isinstance(
        open_clone_again(source).blob(upstream.git("rev-parse", "main:specs/huge.yaml"), 1000), FileTooLarge
    )


def open_clone_again(source: BranchSource) -> Clone:
    repository = source._repository
    assert isinstance(repository, Clone)
    return repository


def test_a_tree_that_names_itself_over_and_over_is_given_up(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.inputs.treelist.MAX_ENTRIES", 1000)
    leaf = upstream.git("hash-object", "-w", "--stdin", data=b"x")
    tree = upstream.git("mktree", data="".join(f"100644 blob {leaf}\t{n:02}.yaml\n" for n in range(20)).encode())
    for _ in range(4):
        tree = upstream.git("mktree", data="".join(f"040000 tree {tree}\t{n:02}\n" for n in range(20)).encode())
    upstream.commit(upstream.git("mktree", data=f"040000 tree {tree}\tspecs\n".encode()), upstream.tip)
    change = _looked(upstream).change  # type: ignore[attr-defined]  # see _looked
    assert change.stalled == "RepositoryFailed"
    assert "more than 1000 entries" in change.message


def test_a_dataset_is_never_read_from_the_clone_itself(upstream: Upstream) -> None:
    """Without a work tree a relative path could name a file of the bare clone, such as its config."""
    text = spec("a", extra="  datasets: [{name: d, uri: 'file:config', sha256: 'sha256:" + "0" * 64 + "'}]\n")
    upstream.put({"specs/a.yaml": text.encode()})
    source = everything(upstream)
    (document,) = source.get(KEY)
    clone, base = open_clone_again(source), upstream.root.parent / "base"
    inputs = CloneInputs(base, base, FileObjects(base / "objects"), InputSettings(), clone=clone.folder)
    facts = inputs.git_facts(document, None)
    found = inputs.dataset_facts(document, facts, document.model.spec.datasets[0])  # type: ignore[union-attr]  # an Experiment
    assert (found.found, found.sha256) == (False, None)
    assert "not tracked in the commit" in found.message


def test_a_file_that_becomes_invalid_keeps_its_key(upstream: Upstream) -> None:
    source = _looked(upstream)
    upstream.put({"specs/a.yaml": b"a: [\n"})
    assert source.poll().keys == {KEY}
    with pytest.raises(InvalidDocumentError):
        source.get(KEY)
