"""One suite for every Source: the fake in memory, the folder on disk, and the branch of a git repository."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controller.api.problems import InvalidDocumentError
from controller.ports.source import Key, Source
from controller.sources.folder import FolderSource
from controller.sources.git import Branches, BranchSource
from tests.fakes.clock import FakeClock
from tests.fakes.source import FakeSource, spec
from tests.fakes.upstream import Upstream

LATER = datetime(2100, 1, 1, tzinfo=UTC)  # so that no file looks as if it had been written just now


def key(name: str) -> Key:
    return Key("Experiment", "default", name)


@dataclass
class World:
    """A source, its clock, and the two things that people do to files."""

    make: Callable[..., Source]
    clock: FakeClock
    put: Callable[[str, str], None]
    remove: Callable[[str], None]
    text: Callable[[str], str]

    def __post_init__(self) -> None:
        self.source = self.make()

    def confirmed(self) -> frozenset[Key]:
        """Keys reported once everything had time to be confirmed."""
        found = self.source.poll().keys
        self.clock.advance(2.5)
        return found | self.source.poll().keys


def _fake() -> World:
    clock = FakeClock(LATER)
    files: dict[str, bytes] = {}

    def make(**options: object) -> Source:
        source = FakeSource(clock, **options)  # type: ignore[arg-type]  # passed on as they are
        source.files = files
        return source

    def put(path: str, text: str) -> None:
        files[path] = text.encode()

    return World(
        make,
        clock,
        put,
        files.__delitem__,
        lambda path: files[path].decode(),
    )


def _folder(root: Path) -> World:
    clock = FakeClock(LATER)

    def put(path: str, text: str) -> None:
        (root / path).parent.mkdir(exist_ok=True)
        (root / path).write_bytes(text.encode())

    return World(
        lambda **options: FolderSource(root, clock, **options),
        clock,
        put,
        lambda path: (root / path).unlink(),
        lambda path: (root / path).read_bytes().decode(),
    )


def _git(root: Path) -> World:
    clock = FakeClock(LATER)
    upstream = Upstream.make(root / "up.git")
    upstream.put({"README": b"specs come here\n"})
    made: list[BranchSource] = []

    def make(**options: Any) -> Source:
        made.append(BranchSource(upstream.clone(root / f"base{len(made)}", clock), Branches("main"), clock, **options))
        return made[-1]

    def put(path: str, text: str) -> None:
        upstream.put({path: text.encode()})
        made[-1].refresh()  # as the thread does that asks the remote

    def remove(path: str) -> None:
        upstream.put({path: None})
        made[-1].refresh()

    def text(path: str) -> str:
        made[-1].flush()
        return upstream.read(path).decode()

    return World(make, clock, put, remove, text)


@pytest.fixture(params=["fake", "folder", pytest.param("git", marks=pytest.mark.needs("git"))])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "git":
        return _git(tmp_path)
    return _fake() if request.param == "fake" else _folder(tmp_path)


def test_a_new_spec_is_reported_once(world: World) -> None:
    world.put("a.yaml", spec("a"))
    assert world.source.poll().keys == {key("a")}
    assert world.source.poll().keys == frozenset()
    assert [document.name for document in world.source.get(key("a"))] == ["a"]
    assert world.source.keys() == {key("a")}


def test_an_edit_is_reported_and_get_returns_it(world: World) -> None:
    world.put("a.yaml", spec("a"))
    world.source.poll()
    world.put("a.yaml", spec("a", extra="  seed: 7\n"))
    assert world.source.poll(frozenset({"a.yaml"})).keys == {key("a")}
    (document,) = world.source.get(key("a"))
    assert document.model.spec.seed == 7


def test_our_own_status_is_no_news_and_keeps_the_user_part(world: World) -> None:
    world.put("a.yaml", spec("a"))
    world.source.poll()
    (document,) = world.source.get(key("a"))
    assert world.source.write_status(document, {"phase": "Running"})
    assert world.source.write_status(document, {"phase": "Succeeded"})
    assert world.text("a.yaml").startswith(spec("a"))
    assert "phase: Succeeded" in world.text("a.yaml")
    assert "Running" not in world.text("a.yaml")
    assert world.source.poll().keys == frozenset()
    (document,) = world.source.get(key("a"))
    assert document.user_part == spec("a").encode()
    assert document.model.status == {"phase": "Succeeded"}


def test_a_status_for_a_document_that_moved_on_is_not_written(world: World) -> None:
    world.put("a.yaml", spec("a"))
    world.source.poll()
    (document,) = world.source.get(key("a"))
    world.put("a.yaml", spec("a", extra="  seed: 7\n"))
    assert not world.source.write_status(document, {"phase": "Running"})
    world.remove("a.yaml")
    assert not world.source.write_status(document, {"phase": "Running"})


def test_an_invalid_file_keeps_its_keys_and_says_what_is_wrong(world: World) -> None:
    world.put("a.yaml", spec("a"))
    world.put("b.yaml", spec("b"))
    world.source.poll()
    world.put("a.yaml", spec("a") + "  sead: 7\n")
    change = world.source.poll()
    assert change.keys == {key("a")}
    assert [problem.field for problem in change.invalid["a.yaml"]] == ["spec.sead"]
    with pytest.raises(InvalidDocumentError, match="sead"):
        world.source.get(key("a"))
    assert world.source.get(key("b"))
    assert world.confirmed() == frozenset()
    assert world.source.keys() == {key("a"), key("b")}
    world.put("a.yaml", spec("a"))
    change = world.source.poll()
    assert (change.keys, change.invalid) == ({key("a")}, {})


def test_a_deletion_counts_when_it_was_seen_twice(world: World) -> None:
    world.put("a.yaml", spec("a"))
    world.put("b.yaml", spec("b"))
    world.source.poll()
    world.remove("a.yaml")
    change = world.source.poll(frozenset({"a.yaml"}))
    assert change.keys == frozenset()
    assert change.recheck_after == pytest.approx(2.0)
    assert world.source.keys() == {key("a"), key("b")}
    assert world.source.get(key("a")) == ()
    world.clock.advance(1.0)
    assert world.source.poll().keys == frozenset()
    world.clock.advance(1.1)
    change = world.source.poll(frozenset())
    assert (change.keys, change.recheck_after) == ({key("a")}, None)
    assert world.source.keys() == {key("b")}


def test_leaving_and_coming_back_in_time_is_nothing(world: World) -> None:
    for name in "abc":
        world.put(f"{name}.yaml", spec(name))
    world.source.poll()
    for name in "abc":
        world.remove(f"{name}.yaml")
    assert world.source.poll().keys == frozenset()
    for name in "abc":
        world.put(f"{name}.yaml", spec(name))
    assert world.confirmed() == frozenset()
    assert world.source.keys() == {key("a"), key("b"), key("c")}


def test_another_name_in_the_same_file_is_a_new_spec_and_a_deletion(world: World) -> None:
    world.put("a.yaml", spec("a"))
    world.source.poll()
    world.put("a.yaml", spec("b"))
    assert world.source.poll().keys == {key("b")}
    world.clock.advance(2.5)
    assert world.source.poll().keys == {key("a")}
    assert world.source.keys() == {key("b")}


def test_a_moved_file_is_the_same_spec(world: World) -> None:
    world.put("a.yaml", spec("a"))
    world.source.poll()
    world.put("team/b.yaml", spec("a"))
    world.remove("a.yaml")
    change = world.source.poll()
    assert (change.keys, change.recheck_after) == ({key("a")}, None)
    assert [document.file for document in world.source.get(key("a"))] == ["team/b.yaml"]
    assert world.confirmed() == frozenset()


def test_one_name_in_two_files_is_a_clash_until_one_goes(world: World) -> None:
    world.put("a.yaml", spec("a"))
    world.source.poll()
    world.put("b.yaml", spec("a", extra="  seed: 7\n"))
    assert world.source.poll().keys == {key("a")}
    assert {document.file for document in world.source.get(key("a"))} == {"a.yaml", "b.yaml"}
    world.remove("a.yaml")
    assert world.source.poll().keys == {key("a")}
    assert [document.file for document in world.source.get(key("a"))] == ["b.yaml"]


def test_one_name_twice_in_a_file_is_a_clash(world: World) -> None:
    world.put("a.yaml", spec("a") + "---\n" + spec("a", extra="  seed: 7\n"))
    assert world.source.poll().keys == {key("a")}
    assert len(world.source.get(key("a"))) == 2


def test_many_documents_in_a_file_are_many_keys(world: World) -> None:
    world.put("a.yaml", "---\n".join(spec(name) for name in "abc"))
    assert world.source.poll().keys == {key("a"), key("b"), key("c")}
    world.put("a.yaml", "---\n".join(spec(name) for name in "ab") + "---\n" + spec("c", extra="  seed: 7\n"))
    assert world.source.poll().keys == {key("c")}


def test_a_mass_deletion_is_withheld_until_it_is_confirmed(world: World) -> None:
    names = [f"n{number}" for number in range(10)]
    for name in names:
        world.put(f"{name}.yaml", spec(name))
    world.source.poll()
    for name in names[:3]:
        world.remove(f"{name}.yaml")
    assert world.source.poll().stalled == "MassDeletion"
    world.clock.advance(100)
    change = world.source.poll()
    assert (change.stalled, change.keys) == ("MassDeletion", frozenset())
    assert "3" in change.message
    world.source.confirm_deletions()
    change = world.source.poll()
    assert (change.stalled, change.keys) == ("", {key(name) for name in names[:3]})
    assert world.source.keys() == {key(name) for name in names[3:]}


def test_a_mass_deletion_is_over_when_the_files_return(world: World) -> None:
    names = [f"n{number}" for number in range(20)]
    for name in names:
        world.put(f"{name}.yaml", spec(name))
    world.source.poll()
    for name in names:
        world.remove(f"{name}.yaml")
    assert world.source.poll().stalled == "MassDeletion"
    for name in names[:19]:
        world.put(f"{name}.yaml", spec(name))
    change = world.source.poll()
    assert (change.stalled, change.keys) == ("", frozenset())
    world.clock.advance(2.5)
    assert world.source.poll().keys == {key(names[19])}


def test_new_specs_do_not_turn_a_mass_deletion_into_a_small_one(world: World) -> None:
    for number in range(10):
        world.put(f"n{number}.yaml", spec(f"n{number}"))
    world.source.poll()
    for number in range(3):
        world.remove(f"n{number}.yaml")
    assert world.source.poll().stalled == "MassDeletion"
    for number in range(100):
        world.put(f"m{number}.yaml", spec(f"m{number}"))
    world.source.poll()
    world.clock.advance(100)
    assert world.source.poll().stalled == "MassDeletion"


def test_a_fifth_of_the_specs_may_go(world: World) -> None:
    for number in range(10):
        world.put(f"n{number}.yaml", spec(f"n{number}"))
    world.source.poll()
    for number in range(2):
        world.remove(f"n{number}.yaml")
    assert world.confirmed() == {key("n0"), key("n1")}


def test_a_deletion_while_nobody_looked_is_confirmed_too(world: World) -> None:
    world.put("a.yaml", spec("a"))
    source = world.make(known=[key("a"), key("b")])
    change = source.poll()
    assert change.keys == {key("a")}
    assert source.keys() == {key("a"), key("b")}
    world.clock.advance(2.5)
    assert source.poll().keys == {key("b")}


def test_specs_lost_while_nobody_looked_may_be_a_mass_deletion(world: World) -> None:
    source = world.make(known=[key(f"n{number}") for number in range(10)])
    assert source.poll().stalled == "MassDeletion"
    world.clock.advance(100)
    change = source.poll()
    assert (change.stalled, change.keys) == ("MassDeletion", frozenset())
