"""The real `ml reconcile` on a host that misbehaves: a rival, a full disk, a locked store, files it may not touch."""

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.reconciling import ML, Place, patient, quick

pytestmark = pytest.mark.needs("git")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path / "repo").make()
    yield made
    assert made.supervisors() == 0


def test_a_second_reconciler_is_refused_and_told_who_is_at_work(place: Place) -> None:
    place.save("one", quick("one"))
    with place.reconciling() as first:
        first.until(lambda: place.phase("one") == "Succeeded", "the run")
        same = place.ml("reconcile", "specs")
        assert same.returncode == 6
        assert f"pid {first.process.pid}" in same.stderr
        other = place.ml("reconcile", "specs", FETCHML_BASE_PATH=str(place.root / "elsewhere"))
        assert other.returncode == 6, other.stderr
        assert f"pid {first.process.pid}" in other.stderr
        run = place.ml("run", "specs/one.yaml", FETCHML_BASE_PATH=str(place.root / "elsewhere"))
        assert run.returncode == 6, run.stderr
        assert list((place.root / "elsewhere").glob("experiments/*")) == [], "the other store has run nothing"
    after = place.ml("reconcile", "specs", "--once")
    assert after.returncode == 0, after.stderr
    assert place.states() == ["succeeded"]
    place.save("two", quick("two"))
    late = place.ml("run", "specs/two.yaml", FETCHML_BASE_PATH=str(place.root / "elsewhere"))
    assert late.returncode == 0, f"once the first is gone another store may work: {late.stderr}"


def test_a_store_that_another_process_locks_is_waited_for(place: Place) -> None:
    with place.reconciling() as at_work:
        at_work.until((place.root / ".fetchml" / "state.db").exists, "the store")
        place.save("before", quick("before"))
        at_work.until(lambda: place.phase("before") == "Succeeded", "a run before")
        locker = sqlite3.connect(place.root / ".fetchml" / "state.db", isolation_level=None)
        locker.execute("BEGIN IMMEDIATE")
        place.save("one", quick("one"))
        at_work.until(lambda: "stayed locked by another process" in at_work.said, "the complaint")
        locker.execute("ROLLBACK")
        locker.close()
        at_work.until(lambda: place.phase("one") == "Succeeded", "the run")
    assert place.states() == ["succeeded", "succeeded"]


@pytest.mark.needs("root", "tmpfs")
def test_a_disk_that_is_really_full_and_then_is_not(place: Place) -> None:
    place.save("one", quick("one", resources={"cpu": "50m", "memory": "16Mi", "disk": "64Ki"}))
    script = f"""
        set -e
        mkdir .fetchml
        mount -t tmpfs -o size=4m tmpfs .fetchml
        "{ML}" status >/dev/null 2>&1 || true
        dd if=/dev/zero of=.fetchml/filler bs=64k >/dev/null 2>&1 || true
        set +e
        timeout 60 "{ML}" run specs/one.yaml; echo "full: $?"
        rm .fetchml/filler
        "{ML}" run specs/one.yaml; echo "free: $?"
        "{ML}" status -o json
        cp -r .fetchml kept
    """
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script], cwd=place.root, env=place.env(), capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    assert "no space" in done.stderr.lower(), done.stderr
    assert "full: 0" not in done.stdout, done.stdout
    assert "free: 0" in done.stdout, done.stdout + done.stderr
    assert '"completed": 1' in done.stdout
    assert len(list((place.root / "kept" / "experiments").iterdir())) == 1


@pytest.mark.needs("root", "tmpfs")
def test_a_read_only_folder_costs_the_status_in_the_file_and_nothing_else(place: Place) -> None:
    saved = place.save("one", quick("one"))
    before = saved.read_bytes()
    script = 'mount --bind specs specs && mount -o remount,ro,bind specs && exec "$0" "$@"'
    wrapper = ("unshare", "--mount", "sh", "-c", script)
    with place.reconciling(wrapper=wrapper) as at_work:
        at_work.until(lambda: place.phase("one") == "Succeeded", "the run")
    assert saved.read_bytes() == before
    assert "StatusNotWritten" in place.events()
    with place.reconciling() as again:
        again.until(lambda: b"phase: Succeeded" in saved.read_bytes(), "the write-back, once it is possible")
    assert place.states() == ["succeeded"]


@pytest.mark.needs("root", "unprivileged")
def test_an_unreadable_file_is_reported_and_its_neighbours_run(place: Place) -> None:
    hidden = place.save("hidden", quick("hidden"))
    hidden.chmod(0)
    place.save("one", quick("one"))
    without = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search")
    with place.reconciling(wrapper=without) as at_work:
        at_work.until(lambda: place.phase("one") == "Succeeded", "the neighbour")
        at_work.until(lambda: "hidden.yaml" in at_work.said, "the report")
        assert place.phase("hidden") == ""
        os.chmod(hidden, 0o644)  # noqa: PTH101  # as a user would
        place.save("two", quick("two"))
        at_work.until(lambda: place.phase("hidden") == "Succeeded", "the run, once it can be read")


def test_what_runs_goes_on_without_its_reconciler(place: Place) -> None:
    place.save("long", patient("long"))
    with place.reconciling() as first:
        first.until(lambda: place.phase("long") == "Running", "the start")
    assert place.supervisors() == 1
    with place.reconciling() as second:
        second.until(lambda: "long" in second.said, "the adoption")
        assert place.ml("cancel", "long").returncode == 0
        second.until(lambda: place.phase("long") == "Cancelled", "the end")
    assert place.rows("SELECT count(*) FROM attempts") == [(1,)]
