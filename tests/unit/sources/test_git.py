"""The git source on real repositories: what it parses, what it writes, and what it says when a remote misbehaves."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from controller.api.documents import user_part_of
from controller.inputs.addresses import remote_of
from controller.inputs.clone import Clone, Committer, clone_folder
from controller.inputs.gitcmd import GitError
from controller.inputs.troubles import trouble_of
from controller.inventory.clock import SystemClock
from controller.ports.repository import RepositoryTroubleError
from controller.ports.source import Key
from controller.sources.git import Branches, BranchSource
from controller.sources.gitstatus import LONGEST, PERIOD, QUIET, due_after
from controller.sources.gitwatch import LONGEST_PAUSE, pause_after
from tests.fakes.clock import FakeClock
from tests.fakes.source import spec
from tests.fakes.upstream import Upstream
from tests.testbed import sshd
from tests.testbed.githttp import serving

pytestmark = pytest.mark.needs("git")

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def key(name: str) -> Key:
    return Key("Experiment", "default", name)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def upstream(tmp_path: Path) -> Upstream:
    made = Upstream.make(tmp_path / "up.git")
    made.put({f"specs/{name}.yaml": spec(name).encode() for name in "abc"})
    return made


def source_of(upstream: Upstream, clock: FakeClock, status: str = "") -> BranchSource:
    source = BranchSource(upstream.clone(upstream.root.parent, clock), Branches("main", "specs", status), clock)
    source.poll()
    return source


def write(source: BranchSource, name: str, phase: str) -> bool:
    (document,) = source.get(key(name))
    return source.write_status(document, {"phase": phase})


# --- what is parsed ---


def test_only_what_changed_between_two_commits_is_parsed(upstream: Upstream, clock: FakeClock) -> None:
    source = source_of(upstream, clock)
    upstream.put({"specs/b.yaml": spec("b", extra="  seed: 7\n").encode(), "README": b"x", "other/d.yaml": b"x: ["})
    change = source.poll()
    assert (change.keys, change.parsed, change.invalid) == ({key("b")}, 1, {})
    assert source.poll().parsed == 0


def test_our_own_commit_is_no_news_and_is_not_even_parsed(upstream: Upstream, clock: FakeClock) -> None:
    source = source_of(upstream, clock)
    for name in "abc":
        assert write(source, name, "Running")
    assert source.flush() == 3
    change = source.poll()
    assert (change.keys, change.parsed) == (frozenset(), 0)
    assert source.get(key("a"))[0].model.status == {"phase": "Running"}
    before = upstream.tip
    for name in "abc":
        assert write(source, name, "Running")
    assert source.flush() == 0
    assert upstream.tip == before, "nothing changed, and yet there is a new commit"


def test_a_status_that_somebody_replaced_comes_back(upstream: Upstream, clock: FakeClock) -> None:
    source = source_of(upstream, clock)
    write(source, "a", "Running")
    source.flush()
    upstream.put({"specs/a.yaml": spec("a").encode() + b"status: {phase: Succeeded}\n"})
    assert source.poll().keys == {key("a")}
    assert write(source, "a", "Running")
    source.flush()
    assert b"phase: Running" in upstream.read("specs/a.yaml")
    assert b"Succeeded" not in upstream.read("specs/a.yaml")


def test_a_push_of_code_alone_is_news_for_those_who_follow_it(upstream: Upstream, clock: FakeClock) -> None:
    def using(name: str, git: str) -> bytes:
        return spec(name).replace("spec:\n", f"spec:\n  source: {{git: {git}}}\n").encode()

    upstream.put(
        {
            "specs/a.yaml": using("a", "{path: code/a}"),
            "specs/b.yaml": using("b", "{path: code/b}"),
            "specs/c.yaml": using("c", f"{{path: code/a, commit: {upstream.tip}}}"),
            "specs/d.yaml": using("d", "{}"),
        }
    )
    source = source_of(upstream, clock)
    upstream.put({"code/a/train.py": b"print(1)\n"})
    change = source.poll()
    assert (change.keys, change.parsed) == ({key("a"), key("d")}, 0)


def test_a_rewritten_history_is_said_once_and_taken_over(upstream: Upstream, clock: FakeClock) -> None:
    source = source_of(upstream, clock)
    root = upstream.git("rev-list", "--max-parents=0", "main")
    upstream.put({"specs/b.yaml": spec("b", extra="  seed: 1\n").encode()})
    source.poll()
    upstream.put({"specs/c.yaml": spec("c", extra="  seed: 2\n").encode()}, parent=root)
    change = source.poll()
    assert change.stalled == "HistoryRewritten"
    assert change.keys == {key("b"), key("c")}
    assert source.poll().stalled == ""


# --- what is written ---


def test_documents_that_hold_no_block_get_a_status_file(upstream: Upstream, clock: FakeClock) -> None:
    flow = b"{apiVersion: fetchml.dev/v1alpha1, kind: Experiment, metadata: {name: flow}, spec: {command: [x]}}\n"
    two = (spec("d") + "---\n" + spec("e")).encode()
    upstream.put({"specs/flow.yaml": flow, "specs/two.yaml": two, "specs/a.status.yaml": b"mine: 1\n"})
    source = source_of(upstream, clock)
    for name in ("flow", "d", "e", "a"):
        assert write(source, name, f"Phase{name}")
    source.flush()
    assert upstream.read("specs/flow.yaml") == flow
    assert upstream.read("specs/two.yaml") == two
    assert b"phase: Phaseflow" in upstream.read("specs/flow.status.yaml")
    assert upstream.read("specs/two.status.yaml").count(b"phase: Phase") == 2
    assert upstream.read("specs/a.status.yaml") == b"mine: 1\n"
    assert source.poll().keys == frozenset()


def test_a_status_file_of_somebody_else_is_left_alone(upstream: Upstream, clock: FakeClock) -> None:
    two = (spec("d") + "---\n" + spec("e")).encode()
    upstream.put({"specs/two.yaml": two, "specs/two.status.yaml": b"mine: 1\n"})
    source = source_of(upstream, clock)
    write(source, "d", "Running")
    write(source, "a", "Running")
    source.flush()
    assert upstream.read("specs/two.status.yaml") == b"mine: 1\n"
    assert b"phase: Running" in upstream.read("specs/a.yaml")


@pytest.mark.parametrize("text", [spec("a").replace("\n", "\r\n"), spec("a").rstrip("\n"), spec("a") + "...\n"])
def test_the_user_part_stays_byte_for_byte(upstream: Upstream, clock: FakeClock, text: str) -> None:
    upstream.put({"specs/a.yaml": text.encode()})
    source = source_of(upstream, clock)
    for phase in ("Running", "Succeeded"):
        write(source, "a", phase)
        source.flush()
    data = upstream.read("specs/a.yaml")
    assert b"phase: Succeeded" in data
    assert user_part_of(data) == text.encode()


def test_a_commit_of_ours_says_who_what_and_that_no_pipeline_is_needed(upstream: Upstream, clock: FakeClock) -> None:
    source = source_of(upstream, clock)
    for name in "abc":
        write(source, name, "Running")
    source.flush()
    assert upstream.log()[0] == "status of 3 experiments [skip ci]"
    shown = upstream.git("show", "-s", "--format=%an <%ae>|%ct|%b", "main")
    assert shown.startswith("robot <robot@example.org>|1767323045|")
    assert "default/a: Running" in shown


def test_an_executable_spec_stays_executable(upstream: Upstream, clock: FakeClock) -> None:
    upstream.git("read-tree", "main", env={"GIT_INDEX_FILE": str(upstream.root / "i")})
    entry = upstream.git("rev-parse", "main:specs/a.yaml")
    index = {"GIT_INDEX_FILE": str(upstream.root / "i")}
    upstream.git("update-index", "--cacheinfo", f"100755,{entry},specs/a.yaml", env=index)
    upstream.commit(upstream.git("write-tree", env=index), upstream.tip)
    source = source_of(upstream, clock)
    write(source, "a", "Running")
    source.flush()
    assert upstream.git("ls-tree", "main", "specs/a.yaml").startswith("100755 ")
    assert upstream.git("fsck", "--strict") == ""


def test_when_a_commit_is_due() -> None:
    never = float("-inf")
    assert due_after(first=10, last=10, committed=never, now=10) == pytest.approx(QUIET)
    assert due_after(first=10, last=11.9, committed=never, now=11.9) == pytest.approx(LONGEST - 1.9)
    assert due_after(first=10, last=20, committed=never, now=20) < 0
    assert due_after(first=10, last=10, committed=9.9, now=10.5) == pytest.approx(PERIOD - 0.6)


# --- when the remote misbehaves ---


def test_a_remote_that_is_away_for_an_hour(upstream: Upstream, clock: FakeClock) -> None:
    source = source_of(upstream, clock)
    away = upstream.root.with_name("away.git")
    upstream.root.rename(away)
    messages = set()
    for _ in range(12):
        change = source.poll()
        messages.add(change.message)
        assert (change.stalled, change.keys) == ("RemoteUnreachable", frozenset())
        assert source.get(key("a")), "a spec was forgotten"
        clock.advance(300)
    (message,) = messages
    assert "since 03:04:05 UTC" in message
    assert write(source, "a", "Succeeded")
    with pytest.raises(RepositoryTroubleError) as failed:
        source.flush()
    assert failed.value.reason == "RemoteUnreachable"
    away.rename(upstream.root)
    upstream.put({"specs/d.yaml": spec("d").encode()})
    change = source.poll()
    assert (change.stalled, change.keys) == ("", {key("d")})
    assert source.flush() == 1
    assert b"phase: Succeeded" in upstream.read("specs/a.yaml")


def test_deletions_are_not_believed_while_nobody_can_ask(upstream: Upstream, clock: FakeClock) -> None:
    source = source_of(upstream, clock)
    upstream.put({"specs/a.yaml": None})
    source.poll()
    upstream.root.rename(upstream.root.with_name("away.git"))
    clock.advance(100)
    assert source.poll().keys == frozenset()
    assert source.keys() >= {key("a")}


def test_a_branch_that_is_gone_changes_nothing_until_it_is_back(upstream: Upstream, clock: FakeClock) -> None:
    source = source_of(upstream, clock)
    tip = upstream.tip
    upstream.git("update-ref", "-d", "refs/heads/main")
    clock.advance(100)
    change = source.poll()
    assert (change.stalled, change.keys) == ("BranchNotFound", frozenset())
    assert source.keys() == {key(name) for name in "abc"}
    upstream.git("update-ref", "refs/heads/main", tip)
    assert source.poll().stalled == ""


@contextmanager
def answering(code: int, **headers: str) -> Iterator[tuple[str, list[str]]]:
    """A web server that gives one answer to everything; its address, and the Authorization headers that it was sent."""
    seen: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.headers.get("Authorization", ""))
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/lab.git", seen
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _ask(address: str, base: Path) -> RepositoryTroubleError:
    remote = remote_of(address)
    clone = Clone(clone_folder(base, remote), remote, Committer("robot <r@x>"), SystemClock())
    with pytest.raises(RepositoryTroubleError) as failed:
        clone.refresh("main")
    return failed.value


def test_a_remote_that_does_not_let_us_in(tmp_path: Path) -> None:
    with answering(401, WWW_Authenticate='Basic realm="x"') as (address, _):
        trouble = _ask(address, tmp_path)
    assert trouble.reason == "RemoteAuthFailed"
    assert "credential helper" in str(trouble)


def test_a_remote_that_fails(tmp_path: Path) -> None:
    with answering(503) as (address, _):
        assert _ask(address, tmp_path).reason == "RemoteUnreachable"


def test_a_redirect_is_not_followed_and_gets_no_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "gitconfig"
    config.write_text('[http]\n\textraHeader = "Authorization: Basic c2VjcmV0"\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    with answering(404) as (elsewhere, there):
        with answering(302, Location=elsewhere + "/info/refs?service=git-upload-pack") as (address, here):
            trouble = _ask(address, tmp_path)
        assert here == ["Basic c2VjcmV0"], "the operator's credential is not used at all"
        assert there == []
    assert trouble.reason in ("RemoteRefused", "RemoteUnreachable")


def test_a_repository_over_http_with_a_credential_of_the_operators_helper(
    upstream: Upstream, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """git's own server program behind a password: fetch, look, push a status."""
    base = upstream.root.parent
    config = base / "gitconfig"
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    with serving(upstream.root, user="robot", password="secret") as address:
        config.write_text("")
        assert _ask(address, base / "without").reason == "RemoteAuthFailed"
        helper = base / "helper"
        helper.write_text("#!/bin/sh\nprintf 'username=robot\\npassword=secret\\n'\n")
        helper.chmod(0o755)
        config.write_text(f"[credential]\n\thelper = {helper}\n")
        remote = remote_of(address)
        clone = Clone(clone_folder(base, remote), remote, Committer("robot <r@x>"), clock)
        source = BranchSource(clone, Branches("main", "specs"), clock)
        assert source.poll().keys == {key(name) for name in "abc"}
        write(source, "a", "Running")
        assert source.flush() == 1
        upstream.put({"specs/d.yaml": spec("d").encode()})
        assert source.poll().keys == {key("d")}
    assert b"phase: Running" in upstream.read("specs/a.yaml")
    assert "secret" not in (clone.folder / "config").read_text()


def _ssh_reads(config: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The ssh that git finds reads this configuration of its user (ssh takes no other home from the environment)."""
    folder.mkdir()
    (folder / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {config} "$@"\n')
    (folder / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.needs("sshd")
def test_a_repository_over_ssh(upstream: Upstream, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    server, base = sshd.server(), upstream.root.parent
    _ssh_reads(server.config, base / "bin", monkeypatch)
    remote = remote_of(server.address(upstream.root))
    clone = Clone(clone_folder(base, remote), remote, Committer("robot <r@x>"), clock)
    source = BranchSource(clone, Branches("main", "specs"), clock)
    assert source.poll().keys == {key(name) for name in "abc"}
    write(source, "a", "Running")
    assert source.flush() == 1
    assert b"phase: Running" in upstream.read("specs/a.yaml")


@pytest.mark.needs("sshd")
def test_a_host_key_that_is_not_known_is_refused_whatever_the_user_configured(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, base = sshd.server(), upstream.root.parent
    careless = server.config_with("")
    _ssh_reads(careless, base / "bin", monkeypatch)
    address = server.address(upstream.root)
    plain = subprocess.run(["git", "ls-remote", address], capture_output=True, check=False)
    assert plain.returncode == 0, "the configuration that accepts any host does not work: the test tests nothing"
    (careless.parent / "known_hosts").write_text("")
    trouble = _ask(address, base)
    assert trouble.reason == "RemoteAuthFailed"
    assert "known_hosts" in str(trouble)
    assert (careless.parent / "known_hosts").read_text() == ""


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("error: insufficient space: No space left on device", "DiskFull"),
        ("! [rejected] main -> main (stale info)", "PushRejected"),
        ("! [remote rejected] main -> main (failed to update ref)", "PushRejected"),
        ("! [remote rejected] main -> main (pre-receive hook declined)", "RemoteRefused"),
        ("! [remote rejected] main -> main (protected branch hook declined)", "RemoteRefused"),
        ("git@host: Permission denied (publickey).", "RemoteAuthFailed"),
        ("Host key verification failed.", "RemoteAuthFailed"),
        ("fatal: detected dubious ownership in repository at '/x'", "RemoteAuthFailed"),
        ("fatal: unable to access 'https://x/': Could not resolve host: x", "RemoteUnreachable"),
        ("ssh: connect to host x port 22: Connection timed out", "RemoteUnreachable"),
        ("error: inflate: data stream error (incorrect header check)", "RepositoryCorrupt"),
        ("fatal: loose object 12 (stored in x) is corrupt", "RepositoryCorrupt"),
        ("fatal: something nobody has seen", "RepositoryFailed"),
    ],
)
def test_what_a_complaint_of_git_means(said: str, reason: str) -> None:
    trouble = trouble_of(GitError("the first line", said), "https://x/y.git")
    assert trouble.reason == reason
    assert str(trouble).startswith("https://x/y.git: the first line")


def test_a_remote_that_does_not_answer_is_asked_less_often_but_every_minute() -> None:
    assert pause_after(15.0, 0) == 15.0
    assert all(pause_after(15.0, failures) <= LONGEST_PAUSE for failures in range(100))
    assert pause_after(15.0, 10) >= 0.8 * LONGEST_PAUSE
    assert pause_after(300.0, 3) <= 300.0


# --- threads ---


def test_a_push_is_noticed_and_a_status_is_pushed_without_anybody_asking(upstream: Upstream) -> None:
    clock = SystemClock()
    clone = upstream.clone(upstream.root.parent, clock)
    source = BranchSource(clone, Branches("main", "specs", poll_seconds=600.0), clock)
    news = threading.Event()
    stop = source.watch(lambda _hints: news.set())
    try:
        assert news.wait(60)
        source.poll()
        news.clear()
        upstream.put({"specs/d.yaml": spec("d").encode()})
        assert news.wait(60), "a push to a repository on this host was not noticed"
        assert key("d") in source.poll().keys
        write(source, "d", "Running")
        for _ in range(600):
            if b"phase: Running" in upstream.read("specs/d.yaml"):
                break
            clock.sleep(0.1)
        assert b"phase: Running" in upstream.read("specs/d.yaml")
    finally:
        stop()
    threads = {thread.name for thread in threading.enumerate()}
    assert not threads & {"git-look", "git-push"}


def test_the_bell_asks_a_remote_at_once(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SystemClock()
    clone = upstream.clone(upstream.root.parent, clock)
    monkeypatch.setattr(clone, "stamp", lambda _branch: "")  # as of a remote elsewhere
    source = BranchSource(clone, Branches("main", "specs", poll_seconds=600.0), clock)
    news = threading.Event()
    stop = source.watch(lambda _hints: news.set())
    try:
        assert news.wait(60)
        source.poll()
        news.clear()
        upstream.put({"specs/d.yaml": spec("d").encode()})
        assert not news.wait(0.3), "it was noticed without the bell: the test tests nothing"
        source.ring()
        assert news.wait(60)
    finally:
        stop()


def test_a_remote_that_never_answers_does_not_keep_us_from_stopping(
    upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SystemClock()
    clone = upstream.clone(upstream.root.parent, clock)
    source = BranchSource(clone, Branches("main", "specs"), clock)
    source.poll()
    write(source, "a", "Running")
    asked, answer = threading.Event(), threading.Event()

    def never(_branch: str) -> None:
        asked.set()
        answer.wait()

    monkeypatch.setattr(clone, "refresh", never)
    monkeypatch.setattr("controller.sources.gitwatch.STOP_SECONDS", 0.1)
    stop = source.watch(lambda _hints: None)
    try:
        assert asked.wait(60)
        stop()  # would wait for ever
        source.close()
    finally:
        answer.set()


def test_git_tidies_the_clone_now_and_then(
    upstream: Upstream, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = upstream.root.parent / "gitconfig"
    config.write_text("[gc]\n\tautoPackLimit = 1\n[fetch]\n\tunpackLimit = 1\n")  # each fetch leaves a pack
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setattr("controller.inputs.clone._TIDY_EVERY", 4)
    source = source_of(upstream, clock)
    (folder,) = (upstream.root.parent / "clones").glob("*.git")
    counts = []
    for seed in range(3):
        upstream.put({"specs/a.yaml": spec("a", extra=f"  seed: {seed}\n").encode()})
        assert source.poll().keys == {key("a")}
        counts.append(len(list(folder.glob("objects/pack/*.pack"))))
    assert counts == [2, 3, 1]
    assert write(source, "a", "Running")
    assert source.flush() == 1


def test_what_waits_is_pushed_when_the_source_is_closed(upstream: Upstream, clock: FakeClock) -> None:
    source = source_of(upstream, clock)
    write(source, "a", "Running")
    source.close()
    assert b"phase: Running" in upstream.read("specs/a.yaml")
