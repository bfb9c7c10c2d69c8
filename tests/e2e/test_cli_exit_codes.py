"""Every exit code of the design contract, provoked for real."""

import hashlib
from pathlib import Path

import pytest

from controller.entrypoints.cli.errors import Exit
from tests.e2e.cli import FAILING, INTERRUPT, PATIENT, Repo, read_until, spec


def test_0_a_run_that_succeeds(project: Repo) -> None:
    result = project.ml("run", project.write("specs/hello.yaml", spec("hello")).as_posix(), code=Exit.OK)
    assert result.out == "hello from the run\n"
    assert "Succeeded hello-" in result.err
    assert "verify      ml verify hello-" in result.err


def test_1_a_damaged_store_is_a_sentence(project: Repo) -> None:
    project.write(".fetchml/state.db", "this is no database, but it is long enough to be looked at as one" * 50)
    result = project.ml("status", code=Exit.ERROR)
    assert "is damaged" in result.err
    assert "ml restore" in result.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("statsu",), "Did you mean `ml status`?"),
        (("explain",), "Missing argument 'PATH'"),
        (("status", "-o", "xml"), "'xml' is not one of"),
        (("explain", "specs"), "specs is a folder; name one file in it, such as specs/first.yaml"),
        (("wait", "x", "--timeout", "soon"), "write a duration such as 90s"),
        (("reconcile", "specs/first.yaml"), "ml run specs/first.yaml"),
        (("validate",), "ml validate specs/"),
    ],
)
def test_2_wrong_usage(project: Repo, words: tuple[str, ...], said: str) -> None:
    if words[0] == "wait":
        project.ml("approve", "specs/first.yaml")  # makes the store
    assert said in project.ml(*words, code=Exit.USAGE).err


def test_2_settings_name_their_origin(project: Repo) -> None:
    result = project.ml("explain", "specs/first.yaml", code=Exit.USAGE, FETCHML_WORKERS="many")
    assert result.err == "the environment (FETCHML_WORKERS): workers: 'many' is not a whole number of at least 1\n"


def test_3_an_invalid_spec(project: Repo) -> None:
    project.write("bad.yaml", spec("bad").replace("resources:", "resorces:") + "  seed: x\n")
    for command in ("validate", "explain", "run", "diff", "queue", "approve"):
        result = project.ml(command, "bad.yaml", code=Exit.INVALID)
        lines = (result.out + result.err).splitlines()
        assert [line.split(" ")[0] for line in lines] == ["bad.yaml:7:3:", "bad.yaml:9:9:"]
        assert "did you mean resources?" in lines[0].lower() or "resources" in lines[0]


@pytest.mark.parametrize("command", ["explain", "run", "queue"])
def test_4_refused(project: Repo, command: str) -> None:
    project.write("data.csv", "1,2\n")
    good, wrong = sha256(b"1,2\n"), "sha256:" + "0" * 64
    extra = f"""\
  datasets:
    - {{name: good, uri: file:data.csv, sha256: "{good}"}}
    - {{name: wrong, uri: file:data.csv, sha256: "{wrong}"}}
    - {{name: none, uri: file:data.csv}}
  sandbox: {{network: full}}
"""
    project.write("bad.yaml", spec("bad", extra=extra))
    result = project.ml(command, "bad.yaml", code=Exit.REFUSED)
    text = result.out + result.err
    if command == "run":
        assert "Blocked DatasetChecksumMismatch" in text
        return
    assert "bad.yaml:11:" in text
    assert "DatasetChecksumMismatch" in text
    assert "bad.yaml:12:" in text
    assert "bad.yaml:13:" in text
    assert "NetworkNotAllowed" in text or "network" in text
    assert not (project.root / "specs" / "bad.yaml").exists()


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.mark.parametrize(
    "words",
    [
        ("explain", "nope.yaml"),
        ("run", "nope.yaml"),
        ("status", "nope"),
        ("wait", "nope"),
        ("logs", "nope"),
        ("cancel", "nope"),
        ("info", "nope"),
        ("verify", "nope"),
        ("adopt", "nope"),
        ("reconcile", "nope"),
        ("restore", "nope"),
        ("validate", "nope"),
        ("validate", "--task", "nope"),
    ],
    ids=" ".join,
)
def test_5_not_found(ran: Repo, words: tuple[str, ...]) -> None:
    result = ran.ml(*words, code=Exit.NOT_FOUND)
    assert "nope" in result.err


def test_5_before_anything_ran(project: Repo) -> None:
    for words in (("status",), ("logs", "x"), ("prune",), ("unlock",), ("backup", "x.tar.gz")):
        assert "begin with: ml run" in project.ml(*words, code=Exit.NOT_FOUND).err


def test_6_a_second_reconciler(project: Repo) -> None:
    with project.started("reconcile", "specs") as first:
        read_until(first.stderr, "first  Succeeded")
        result = project.ml("reconcile", "specs", code=Exit.NOT_ALLOWED)
        assert f"pid {first.pid} " in result.err
        assert "(ml reconcile specs)" in result.err
        assert "`ml status`" in result.err
        assert "watching" not in result.err
        assert f"pid {first.pid}" in project.ml("unlock", "--yes", code=Exit.NOT_ALLOWED).out
        first.send_signal(INTERRUPT)
        assert first.wait() == Exit.OK
    project.ml("reconcile", "specs", "--once")


def test_6_what_exists_is_not_overwritten(project: Repo) -> None:
    project.write("drafts/first.yaml", spec("first"))
    assert "exists already" in project.ml("queue", "drafts/first.yaml", code=Exit.NOT_ALLOWED).err
    project.ml("approve", "specs/first.yaml")
    project.write("old.tar.gz", "")
    assert "exists already" in project.ml("backup", "old.tar.gz", code=Exit.NOT_ALLOWED).err


def test_7_a_run_that_fails(project: Repo) -> None:
    project.write("specs/broken.yaml", spec("broken", FAILING))
    result = project.ml("run", "specs/broken.yaml", code=Exit.RUN_FAILED)
    assert result.out == "it breaks\n"
    assert "exit code   3" in result.err
    assert "ended as Failed, not Succeeded" in project.ml("wait", "broken", code=Exit.RUN_FAILED).err


def test_7_a_run_that_is_cancelled(project: Repo) -> None:
    project.write("specs/slow.yaml", spec("slow", PATIENT))
    with project.started("run", "specs/slow.yaml") as process:
        run = project.running("slow")
        assert project.ml("cancel", "slow").err == f"asked for {run} to be cancelled\n"
        assert process.wait() == Exit.RUN_FAILED
    assert project.phase("slow") == "Cancelled"
    project.ml("wait", "slow", "--for", "cancelled")


@pytest.fixture
def unpushed(project: Repo, tmp_path: Path) -> Repo:
    """A repository with a remote that lacks the newest commit."""
    project.git("init", "-q", "--bare", str(tmp_path / "remote.git"))
    project.git("remote", "add", "origin", str(tmp_path / "remote.git"))
    return project


def test_8_must_wait(unpushed: Repo) -> None:
    for command in ("explain", "run"):
        result = unpushed.ml(command, "specs/first.yaml", code=Exit.MUST_WAIT)
        assert "NotPushed" in result.out + result.err
        assert ("git push" if command == "explain" else "ml explain specs/first.yaml") in result.out + result.err
    unpushed.git("push", "-q", "-u", "origin", "main")
    unpushed.ml("explain", "specs/first.yaml", code=Exit.OK)


def test_10_only_when_asked(project: Repo) -> None:
    project.ml("explain", "specs/first.yaml", code=Exit.OK)
    project.ml("explain", "specs/first.yaml", "--detailed-exitcode", code=Exit.WOULD_LAUNCH)
    project.ml("run", "specs/first.yaml")
    result = project.ml("explain", "specs/first.yaml", "--detailed-exitcode", code=Exit.OK)
    assert "this plan ran already, as first-" in result.out


def test_124_timed_out(project: Repo) -> None:
    project.write("specs/slow.yaml", spec("slow", PATIENT))
    result = project.ml("run", "specs/slow.yaml", "--timeout", "1ms", code=Exit.TIMED_OUT)
    assert "timed out" in result.err
    with project.started("reconcile", "specs"):
        run = project.running("slow")
        assert "still Running" in project.ml("wait", "slow", "--timeout", "1ms", code=Exit.TIMED_OUT).err
        project.go(run)
        project.ml("wait", "slow")


def test_diff_is_0_1_and_more(project: Repo) -> None:
    assert "has not run yet" in project.ml("diff", "specs/first.yaml", code=1).out
    project.ml("run", "specs/first.yaml")
    assert "no difference" in project.ml("diff", "specs/first.yaml", code=0).out
    path = project.root / "specs" / "first.yaml"
    path.write_text(path.read_text().replace("steps: 20", "steps: 30"))
    assert "20 -> 30" in project.ml("diff", "specs/first.yaml", code=1).out
    project.ml("diff", "specs/none.yaml", code=Exit.NOT_FOUND)
