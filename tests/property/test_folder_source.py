"""A folder source in lockstep with a naive one that parses every file at every look.

Whatever people do to the files, in whatever order and however often somebody looks: both know the same keys, report the
same problems and give the same documents; nothing is reported gone that is there; and no byte of a user ever changes.
"""

import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from controller.api.documents import load
from controller.api.problems import InvalidDocumentError
from controller.ports.source import Change, Key, Source
from controller.sources.folder import FolderSource
from tests.fakes.clock import FakeClock
from tests.fakes.source import FakeSource, spec

LATER = datetime(2100, 1, 1, tzinfo=UTC)
PATHS = st.sampled_from(["a.yaml", "b.yml", "team/a.yaml", "team/deep/c.yaml"])
NAMES = st.sampled_from(["x", "y", "z"])
BODIES = st.sampled_from(["", "  seed: 1\n", "  seed: 2  # two\n", "  seed: 3"])


def _spec(name: str, body: str) -> bytes:
    return spec(name, extra=body).encode()


VALID = st.builds(_spec, NAMES, BODIES)
SEVERAL = st.lists(VALID, min_size=2, max_size=3).map(b"\n---\n".join)
BROKEN = st.sampled_from([b"", b"\x00\xff", b"a: [", _spec("x", "  sead: 1\n"), _spec("x", "") + b"---\nkind: Nope\n"])
CONTENT = st.one_of(VALID, VALID, SEVERAL, BROKEN)


class Lockstep(RuleBasedStateMachine):
    """Does everything twice."""

    @initialize(others=st.integers(0, 12))
    def begin(self, others: int) -> None:
        """With more or fewer specs that nobody touches, so that deletions are masses or not."""
        self.root = Path(tempfile.mkdtemp(prefix="folder-source-"))
        self.clock = FakeClock(LATER)
        self.fake = FakeSource(self.clock)
        self.real = FolderSource(self.root, self.clock)
        self.users: dict[str, bytes] = {}
        self.touched: set[str] = set()
        for number in range(others):
            self._save(f"n{number}.yaml", _spec(f"n{number}", ""))

    def _save(self, path: str, data: bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(data)
        self.fake.put(path, data)
        self.users[path] = data
        self.touched.add(path)

    @rule(path=PATHS, data=CONTENT)
    def save(self, path: str, data: bytes) -> None:
        self._save(path, data)

    @rule(path=PATHS, data=CONTENT)
    def save_by_rename(self, path: str, data: bytes) -> None:
        self._save(path, data)
        temporary = self.root / ".new"
        temporary.write_bytes(data)
        temporary.rename(self.root / path)

    @rule(path=PATHS)
    def delete(self, path: str) -> None:
        if path in self.users:
            (self.root / path).unlink()
            self.fake.remove(path)
            del self.users[path]
            self.touched.add(path)

    @rule(old=PATHS, new=PATHS)
    def rename(self, old: str, new: str) -> None:
        if old in self.users and old != new:
            (self.root / new).parent.mkdir(parents=True, exist_ok=True)
            (self.root / old).rename(self.root / new)
            self.fake.files[new] = self.fake.files.pop(old)
            self.users[new] = self.users.pop(old)
            self.touched |= {old, new}

    @rule(seconds=st.sampled_from([0.5, 1.5, 3.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def look(self) -> None:
        self.touched.clear()
        self._same(self.real.poll(), self.fake.poll())

    @rule()
    def look_at_what_was_touched(self) -> None:
        """The fake looks at everything; the only difference may be that hints confirm no deletion."""
        hints, self.touched = frozenset(self.touched), set()
        self._same(self.real.poll(hints), self.fake.poll())

    @rule()
    def prune(self) -> None:
        self.look()
        self.real.confirm_deletions()
        self.fake.confirm_deletions()
        self.look()

    @rule(name=NAMES, number=st.integers(0, 3))
    def write_status(self, name: str, number: int) -> None:
        key = Key("Experiment", "default", name)
        for source in (self.real, self.fake):
            for document in _get(source, key) or ():
                assert source.write_status(document, {"phase": "Running", "observedGeneration": number})

    def _same(self, real: Change, fake: Change) -> None:
        assert real.keys == fake.keys
        assert set(real.invalid) == set(fake.invalid)
        assert (real.stalled, real.recheck_after) == (fake.stalled, pytest.approx(fake.recheck_after))
        assert self.real.keys() == self.fake.keys()
        for key in frozenset(self.real.keys()):
            mine, naive = _get(self.real, key), _get(self.fake, key)
            assert (mine is None) == (naive is None)
            assert sorted(d.user_part for d in mine or ()) == sorted(d.user_part for d in naive or ())

    @invariant()
    def no_user_byte_changed(self) -> None:
        for path, data in getattr(self, "users", {}).items():
            now = (self.root / path).read_bytes()
            loaded = load(now, path)
            alone = len(loaded.documents) == 1 and not loaded.problems
            assert (loaded.documents[0].user_part if alone else now) == data

    def teardown(self) -> None:
        """Once it is quiet, what is known is what is there."""
        if not hasattr(self, "root"):
            return
        try:
            self._settle()
        finally:
            shutil.rmtree(self.root)

    def _settle(self) -> None:
        self.look()
        self.real.confirm_deletions()
        self.fake.confirm_deletions()
        self.look()
        there = {
            Key("Experiment", "default", document.name)
            for path in self.root.rglob("*.y*ml")
            if not path.name.endswith(".status.yaml")
            for document in load(path.read_bytes(), path.name).documents
        }
        assert self.real.keys() >= there
        if not self.real.poll().invalid:
            assert self.real.keys() == there


def _get(source: Source, key: Key):  # type: ignore[no-untyped-def]  # documents, or None where the file is invalid
    try:
        return source.get(key)
    except InvalidDocumentError:
        return None


TestLockstep = Lockstep.TestCase
TestLockstep.settings = settings(
    max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_a_broken_file_at_the_place_of_a_deleted_one_holds_none_of_its_keys() -> None:
    """Found by the machine: the fake kept what the deleted file had held."""
    both = b"\n---\n".join([_spec("z", "  seed: 1\n"), _spec("z", "  seed: 1\n")])
    steps = Lockstep()
    steps.begin(others=1)
    for path in ("a.yaml", "team/a.yaml"):
        steps.save(path=path, data=both)
    steps.look()
    steps.save(path="team/a.yaml", data=b"\x00\xff")
    steps.look_at_what_was_touched()
    steps.delete(path="team/a.yaml")
    steps.look()
    steps.delete(path="a.yaml")
    steps.look_at_what_was_touched()
    steps.save(path="team/a.yaml", data=b"\x00\xff")
    steps.prune()
    assert steps.real.keys() == {Key("Experiment", "default", "n0")}
    steps.teardown()
