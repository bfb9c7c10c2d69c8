"""The real `ml reconcile` on a folder that people change: saving, deleting, switching branches, and bad neighbours."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.reconciling import Place, patient, quick, spec
from tests.unit.reconcile.bench import document

CORPUS = Path(__file__).parents[1] / "corpus"
pytestmark = pytest.mark.needs("git")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "repo").make()
    yield made
    if "active" in made.states():
        made.stop_all()
    assert made.supervisors() == 0


def test_saving_a_spec_runs_it_and_cancel_and_deletion_stop_it(place: Place) -> None:
    with place.reconciling() as at_work:
        saved = place.save("one", quick("one"))
        at_work.until(lambda: place.phase("one") == "Succeeded", "the run")
        at_work.until(lambda: b"phase: Succeeded" in saved.read_bytes(), "the write-back")
        place.save("two", patient("two"))
        place.save("three", patient("three"))
        at_work.until(lambda: place.phase("two") == place.phase("three") == "Running", "both runs")
        assert place.ml("cancel", "two").returncode == 0
        at_work.until(lambda: place.phase("two") == "Cancelled", "the cancellation")
        (place.root / "specs" / "three.yaml").unlink()
        at_work.until(lambda: place.states().count("cancelled") == 2, "the deletion")
    assert place.states() == ["succeeded", "cancelled", "cancelled"]
    history = place.rows("SELECT deleted FROM experiments WHERE name = 'three'")
    assert history == [(1,)]
    assert len(list((place.root / ".fetchml" / "experiments").iterdir())) == 3, "history stays"


def test_two_files_with_one_name_say_so_and_neither_runs(place: Place) -> None:
    for name, seed in (("one", 1), ("two", 2)):
        os.utime(place.save(name, quick("same", seed=seed)), (1, 1))  # long ago: nobody is still writing it
    with place.reconciling() as at_work:
        at_work.until(lambda: "NameClash: default/same stands in" in at_work.said, "the complaint")
        assert place.states() == []
        (place.root / "specs" / "two.yaml").unlink()
        at_work.until(lambda: place.phase("same") == "Succeeded", "the run of the one that is left")
    assert place.states() == ["succeeded"]


def test_removing_everything_cancels_nothing_until_prune(place: Place) -> None:
    count = 12
    names = [f"e{number}" for number in range(count)]
    for name in names:
        place.save(name, patient(name))
    with place.reconciling() as at_work:
        at_work.until(lambda: all(place.phase(name) == "Running" for name in names), "all runs")
        for path in (place.root / "specs").glob("*.yaml"):
            path.unlink()
        at_work.until(lambda: "MassDeletion" in at_work.said, "MassDeletion")
        place.save("after", quick("after"))
        at_work.until(lambda: place.phase("after") == "Succeeded", "a run meanwhile")
    assert place.states().count("active") == count
    assert "MassDeletion" in place.events()
    with place.reconciling() as again:
        again.until(lambda: "MassDeletion" in again.said, "MassDeletion after a restart")
        assert place.states().count("active") == count
    with place.reconciling("--prune") as pruning:
        pruning.until(lambda: place.states().count("cancelled") == count, "the cancellations")
    print(f"0 of {count} runs cancelled before --prune, {count} after")


def test_another_branch_and_back_starts_nothing_twice(place: Place) -> None:
    for name in ("one", "two"):
        place.save(name, quick(name))
    place.git("add", "-A")
    place.git("commit", "-qm", "specs")
    place.git("branch", "other", "HEAD~1")
    with place.reconciling() as at_work:
        at_work.until(lambda: place.states() == ["succeeded"] * 2, "both runs")
        at_work.until(
            lambda: all(b"Succeeded" in path.read_bytes() for path in (place.root / "specs").glob("*.yaml")),
            "write-back",
        )
        place.git("commit", "-qam", "status")
        place.git("checkout", "-q", "other")
        assert not list((place.root / "specs").glob("*.yaml"))
        at_work.until(lambda: not place.rows("SELECT 1 FROM experiments WHERE NOT deleted"), "the deletions")
        place.git("checkout", "-q", "-")
        at_work.until(lambda: len(place.rows("SELECT 1 FROM experiments WHERE NOT deleted")) == 2, "the return")
        place.save("three", quick("three"))
        at_work.until(lambda: place.phase("three") == "Succeeded", "a look at everything")
    assert place.states() == ["succeeded"] * 3
    attempts = place.rows("SELECT count(*) FROM attempts")
    assert attempts == [(3,)]


def test_thirty_at_once_share_two_cores(place: Place) -> None:
    place.environment["FETCHML_MAX_CPU"] = "2"
    names = [f"e{number}" for number in range(30)]
    for name in names:
        place.save(name, spec(name, ["sh", "-c", "echo done"], resources={"cpu": "1", "memory": "16Mi", "disk": "1Mi"}))
    with place.reconciling() as at_work:
        at_work.until(lambda: place.states().count("succeeded") == 30, "all thirty")
    moments = []
    for started, ended in place.rows("SELECT started_at, ended_at FROM attempts"):
        moments += [(started, 1), (ended, -1)]
    most = now = 0
    for _, step in sorted(moments):
        now += step
        most = max(most, now)
    assert most <= 2
    print(f"30 specs finished, at most {most} at once")


def test_bad_neighbours_disturb_nobody(place: Place) -> None:
    bad = [path for kind in ("malformed", "hostile") for path in sorted((CORPUS / kind).rglob("*")) if path.is_file()]
    assert len(bad) >= 300
    for number, path in enumerate(bad):
        shutil.copy(path, place.root / "specs" / f"bad-{number}.yaml")
    (place.root / "specs" / "folder.yaml").mkdir()
    place.save("long", patient("long"))
    place.save("quick", quick("quick"))
    with place.reconciling() as at_work:
        at_work.until(lambda: place.phase("long") == "Running" and place.phase("quick") == "Succeeded", "the good ones")
        place.save("later", quick("later"))
        at_work.until(lambda: place.phase("later") == "Succeeded", "a good one saved later")
        assert place.phase("long") == "Running"
    unchanged = sum(
        (place.root / "specs" / f"bad-{n}.yaml").read_bytes() == path.read_bytes() for n, path in enumerate(bad)
    )
    started = {name for (name,) in place.rows("SELECT name FROM runs JOIN experiments USING (uid)")}
    assert started == {"long", "quick", "later"}
    print(f"{len(bad)} bad files ({unchanged} byte for byte as they were): 0 of them started, 3 of 3 neighbours ran")


def test_explain_sees_the_quotas_and_policies_that_the_reconciler_will(place: Place) -> None:
    place.save("one", quick("one"))
    place.save("quota", document("Quota", "none", {"runs": 0}))
    explained = place.ml("explain", "specs/one.yaml")
    assert explained.returncode == 0, explained.stderr
    assert "quota none of nobody: needs 1 run, 0 of 0 free" in explained.stdout
    place.save("policy", document("TrustPolicy", "high", {"rules": [{"minTrustLevel": "L3"}]}))
    refused = place.ml("explain", "specs/one.yaml")
    assert refused.returncode == 4
    assert "policy requires L3" in refused.stdout
    with place.reconciling() as at_work:
        at_work.until(lambda: place.phase("one") == "Blocked", "the same refusal")
        (place.root / "specs" / "policy.yaml").unlink()
        at_work.until(lambda: place.phase("one") == "Queued", "the wait for the quota")
        place.save("quota", document("Quota", "none", {"runs": 1}))
        at_work.until(lambda: place.phase("one") == "Succeeded", "the run")
