"""`ml run` and `ml reconcile` while something happens: Ctrl-C, another reconciler, one that stops, a closed pipe."""

import re
import signal
import subprocess

import pytest

from tests.e2e.cli import FAILING, INTERRUPT, ML, PATIENT, Repo, read_until, spec


@pytest.fixture
def slow(project: Repo) -> Repo:
    """A repository with a run that waits for the test, and nothing else."""
    (project.root / "specs" / "first.yaml").unlink()
    project.write("specs/slow.yaml", spec("slow", PATIENT))
    return project


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupting_detaches_and_the_run_goes_on(slow: Repo, number: signal.Signals, code: int) -> None:
    with slow.started("run", "specs/slow.yaml") as process:
        run = slow.running("slow")
        process.send_signal(number)
        _, err = process.communicate()
    assert process.returncode == code
    assert err.endswith("detached: the run goes on; follow it again: ml run specs/slow.yaml\n")
    assert slow.phase("slow") == "Running"
    slow.go(run)
    again = slow.ml("run", "specs/slow.yaml")
    assert again.out == "waiting for go\nwent\n"
    assert f"Succeeded {run} attempt 1" in again.err


def test_no_logs_means_none(project: Repo) -> None:
    assert project.ml("run", "specs/first.yaml", "--no-logs").out == ""


def test_run_follows_what_a_reconciler_does(slow: Repo) -> None:
    with slow.started("reconcile", "specs") as reconciler:
        run = slow.running("slow")
        with slow.started("run", "specs/slow.yaml") as following:
            assert "another reconciler is at work here" in read_until(following.stderr, f"Running {run}")
            slow.go(run)
            out, err = following.communicate()
        assert following.returncode == 0
        assert out == "waiting for go\nwent\n"
        assert f"Succeeded {run} attempt 1" in err
        assert reconciler.poll() is None


def test_run_takes_over_from_a_reconciler_that_stops(slow: Repo) -> None:
    with slow.started("reconcile", "specs") as reconciler:
        run = slow.running("slow")
        with slow.started("run", "specs/slow.yaml") as following:
            read_until(following.stderr, f"Running {run}")
            reconciler.send_signal(INTERRUPT)
            assert reconciler.wait() == 0
            slow.until(lambda: "ml run" in slow.ml("unlock", "--force").out)
            slow.go(run)
            following.communicate()
        assert following.returncode == 0
    assert slow.phase("slow") == "Succeeded"


@pytest.mark.parametrize(
    ("code", "extra", "ends"),
    [(FAILING, "", 7), (FAILING, "  sandbox: {network: full}\n", 4)],
    ids=["fails", "refused"],
)
def test_run_ends_as_the_other_reconciler_ends_it(slow: Repo, code: str, extra: str, ends: int) -> None:
    with slow.started("reconcile", "specs") as reconciler:
        slow.running("slow")
        path = slow.write("specs/other.yaml", spec("other", code, extra))
        slow.until(lambda: slow.phase("other") in {"Failed", "Blocked"})
        assert "another reconciler" in slow.ml("run", str(path), code=ends).err
        assert reconciler.poll() is None


def test_reconcile_stops_cleanly_and_its_successor_adopts(slow: Repo) -> None:
    with slow.started("reconcile", "specs") as first:
        run = slow.running("slow")
        first.send_signal(INTERRUPT)
        _, err = first.communicate()
    assert first.returncode == 0
    assert "stopped; runs go on" in err
    assert slow.ml("unlock").out == "nobody holds the lease\n"
    with slow.started("reconcile", "specs") as second:
        slow.go(run)
        read_until(second.stderr, f"default/slow  Succeeded  {run}")


def test_reconcile_says_what_is_invalid_and_goes_on(project: Repo) -> None:
    project.write("specs/bad.yaml", spec("bad") + "  sed: 1\n")
    with project.started("reconcile", "specs") as process:
        said = read_until(process.stderr, "default/first  Succeeded")
        assert "specs/bad.yaml:9:3: " in said
        assert "sed" in said


def test_a_terminal_that_closes_leaves_the_run_and_no_lease(slow: Repo) -> None:
    slow.write(
        "specs/slow.yaml", spec("slow", PATIENT.replace("time.sleep(0.05)", "time.sleep(0.05) or print(1, flush=True)"))
    )
    line = f"{ML} run specs/slow.yaml 2>/dev/null | head -1"
    done = subprocess.run(["bash", "-c", line], cwd=slow.root, capture_output=True, text=True, check=True)
    assert done.stdout == "waiting for go\n"
    assert slow.ml("unlock").out == "nobody holds the lease\n"
    assert slow.phase("slow") == "Running"
    slow.go(slow.run_id("slow"))
    slow.ml("reconcile", "specs", "--once")
    assert slow.phase("slow") == "Succeeded"


def test_logs_follow_a_run(slow: Repo) -> None:
    with slow.started("reconcile", "specs"):
        run = slow.running("slow")
        with slow.started("logs", "-f", "slow") as following:
            read_until(following.stdout, "waiting for go")
            slow.go(run)
            assert following.communicate()[0] == "went\n"
        assert following.returncode == 0


def test_a_commit_while_stalled_is_noticed_by_run(project: Repo) -> None:
    path = project.root / "code" / "first.py"
    path.write_text(path.read_text() + "# more\n")
    assert "Blocked DirtyTree" in project.ml("run", "specs/first.yaml", code=4).err
    project.git("commit", "-qam", "more")
    project.ml("run", "specs/first.yaml")


def test_a_reconciler_that_fails_is_said_and_ends_the_following(project: Repo) -> None:
    """The records of runs cannot be made: a file lies where their folder must be."""
    project.write(".fetchml/experiments", "in the way")
    result = project.ml("run", "specs/first.yaml", code=1)
    assert "Error" in result.err
    assert "experiments" in result.err


def test_a_spec_that_goes_away_ends_the_following(slow: Repo) -> None:
    path = slow.root / "specs" / "slow.yaml"
    with slow.started("run", "specs/slow.yaml") as process:
        slow.running("slow")
        path.unlink()
        _, err = process.communicate()
    assert process.returncode == 7, err
    assert re.search(r"the spec was removed: slow-[a-z2-7]{8} was cancelled\n", err)


SCRIPT = """\
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata: {name: script}
spec:
  command:
    - bash
    - -c
    - |
      printf '%s\\n' "$1" > $(results)/out.txt
      echo first;\techo second
    - name
    - "a\\tb\\nPreflight   Pass: 99 of 99 rules pass"
  parameters: {text: "x\\nTrust       at most L4"}
  resources: {cpu: 100m, memory: 128Mi, disk: 16Mi}
  reproducibility: {minTrustLevel: L0}
"""


def test_a_script_in_an_argument_runs_as_written_and_imitates_nothing(project: Repo) -> None:
    project.write("specs/script.yaml", SCRIPT)
    shown = project.ml("explain", "specs/script.yaml").out
    assert len([line for line in shown.splitlines() if line.startswith("Preflight ")]) == 1
    assert len([line for line in shown.splitlines() if line.startswith("Trust ")]) == 1
    (command,) = [line.removeprefix("Command").strip() for line in shown.splitlines() if line.startswith("Command")]
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {command}"], capture_output=True, text=True, check=True
    ).stdout.split("\0")
    assert words[-2] == "a\tb\nPreflight   Pass: 99 of 99 rules pass", "what is shown means the same to bash"
    assert project.ml("run", "specs/script.yaml").out.endswith("first\nsecond\n")
    (results,) = (project.root / ".fetchml" / "experiments").glob("script-*/results")
    assert (results / "out.txt").read_text() == "a\tb\nPreflight   Pass: 99 of 99 rules pass\n"
