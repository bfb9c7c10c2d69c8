"""Quotas and policies of a folder, whether or not it was ever polled; and who holds a folder."""

import os
from pathlib import Path

import pytest

from controller.inventory.clock import SystemClock
from controller.ports.source import Key
from controller.sources import standing
from controller.sources.folder import FolderSource
from controller.sources.writers import FolderLease
from tests.fakes.source import spec

KINDS = frozenset({"Quota", "TrustPolicy"})
QUOTA = "apiVersion: fetchml.dev/v1alpha1\nkind: Quota\nmetadata: {name: q}\nspec: {runs: 1}\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "quota.yaml").write_text(f"{spec('a')}---\n{QUOTA}")
    (tmp_path / "b.yaml").write_text(spec("b"))
    (tmp_path / "word.yaml").write_text(spec("word", extra="  description: a Quota is mentioned\n"))
    (tmp_path / "bad.yaml").write_text("kind: Quota\n: :")
    (tmp_path / "fifo.yaml").unlink(missing_ok=True)
    os.mkfifo(tmp_path / "fifo.yaml")
    for path in tmp_path.rglob("*.yaml"):
        os.utime(path, (1, 1))
    return tmp_path


@pytest.mark.parametrize("polled", [False, True])
def test_the_valid_documents_of_these_kinds(folder: Path, polled: bool) -> None:
    source = FolderSource(folder, SystemClock(), prefix="specs/")
    if polled:
        source.poll(None)
    (found,) = source.standing(KINDS)
    assert (found.kind, found.name, found.file) == ("Quota", "q", "specs/deep/quota.yaml")


def test_looking_does_not_swallow_a_change(folder: Path) -> None:
    source = FolderSource(folder, SystemClock())
    source.standing(KINDS)
    assert Key("Experiment", "default", "b") in source.poll(None).keys
    source.standing(KINDS)
    (folder / "new.yaml").write_text(spec("new"))
    os.utime(folder / "new.yaml", (1, 1))
    source.standing(KINDS)
    assert source.poll(None).keys == {Key("Experiment", "default", "new")}


def test_a_folder_that_cannot_be_listed_has_none(tmp_path: Path) -> None:
    assert FolderSource(tmp_path / "missing", SystemClock()).standing(KINDS) == ()


def test_who_holds_a_folder(tmp_path: Path) -> None:
    assert FolderLease.holder(tmp_path) == ""
    lease = FolderLease.acquire(tmp_path)
    assert lease is not None
    with lease:
        assert FolderLease.holder(tmp_path).startswith(f"pid {os.getpid()} (")
    assert FolderLease.holder(tmp_path) == ""


@pytest.mark.parametrize("polled", [False, True])
def test_the_files_of_one_name(tmp_path: Path, polled: bool) -> None:
    head = "apiVersion: fetchml.dev/v1alpha1\nkind: Experiment\n"
    texts = {
        "one": f"{head}metadata:\n  name: same\nspec: {{command: [true-]}}\n",
        "sub/two": f'{head}metadata: {{"name": "same"}}\nspec: {{command: [x]}}\n',
        "longer": f"{head}metadata: {{name: same-2}}\nspec: {{command: [x]}}\n",
        "elsewhere": f"{head}metadata: {{name: same, namespace: lab}}\nspec: {{command: [x]}}\n",
        "broken": f"{head}metadata: {{name: same}}\nspec: {{comand: [x]}}\n",
    }
    for name, text in texts.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    source = FolderSource(tmp_path, SystemClock(), prefix="specs/", expected="same")
    if polled:
        source.poll(None)
    assert sorted(source.places(Key("Experiment", "default", "same"))) == ["specs/one.yaml", "specs/sub/two.yaml"]
    assert source.places(Key("Experiment", "lab", "same")) == ("specs/elsewhere.yaml",)
    assert source.standing(KINDS) == ()


def test_the_look_for_one_name_reads_the_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        (tmp_path / f"{number}.yaml").write_text("name: other\n")
    read: list[str] = []
    real = standing._read

    def count(root: Path, path: str, now_ns: int) -> bytes:
        read.append(path)
        return real(root, path, now_ns)

    monkeypatch.setattr(standing, "_read", count)
    source = FolderSource(tmp_path, SystemClock(), expected="same")
    source.standing(KINDS)
    assert source.places(Key("Experiment", "default", "same")) == ()
    assert sorted(read) == [f"{number}.yaml" for number in range(5)]
