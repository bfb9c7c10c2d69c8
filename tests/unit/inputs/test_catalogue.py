"""Catalogue entries: found, suggested, versioned, written; their rows; Croissant in and out."""

import gzip
import io
import json
from pathlib import Path

import pytest

from controller.api.addresses import catalogue_entry, uri_fault
from controller.api.catalog import Dataset, DatasetSpec
from controller.api.documents import load
from controller.api.experiment import DatasetRef
from controller.api.rows import RowsError, row_problems
from controller.inputs.beneath import UnsafePathError
from controller.inputs.catalogue import (
    CatalogueError,
    entries,
    find_version,
    matches,
    next_version,
    rendered,
    version_of,
    with_version,
    write,
)
from controller.inputs.catalogue_croissant import read as read_croissant
from controller.inputs.catalogue_croissant import write as write_croissant
from controller.inputs.catalogue_rows import rows_of
from tests.builders import sha


def dataset(name: str = "digits", **spec: object) -> Dataset:
    value = {"uri": "file:a.csv", "sha256": sha("a"), **spec}
    return Dataset.model_validate(
        {
            "apiVersion": "fetchml.dev/v1alpha1",
            "kind": "Dataset",
            "metadata": {"name": name, "labels": {"project": "vision"}},
            "spec": value,
        }
    )


@pytest.mark.parametrize(
    ("uri", "entry"),
    [
        ("dataset:digits", ("digits", "")),
        ("dataset:digits@2026-11", ("digits", "2026-11")),
        ("dataset:Digits", None),
        ("dataset:", None),
        ("dataset:a@", None),
        ("dataset:a@../x", None),
        ("file:digits", None),
    ],
)
def test_how_an_entry_is_named(uri: str, entry: tuple[str, str] | None) -> None:
    assert catalogue_entry(uri) == entry
    assert (uri_fault(uri) is None) is (entry is not None or uri.startswith("file:"))


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("dataset:digit", "did you mean digits"),
        ("dataset:zzz", "there are digits"),
        ("dataset:digits@3", r"no version '3'; there are 1"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(uri: str, why: str) -> None:
    with pytest.raises(UnsafePathError, match=why) as caught:
        version_of(DatasetRef(name="x", uri=uri), [dataset()])
    assert caught.value.reason == "DatasetNotInCatalogue"


def test_a_name_that_stands_twice_is_refused() -> None:
    with pytest.raises(UnsafePathError, match="2 Dataset documents"):
        version_of(DatasetRef(name="x", uri="dataset:digits"), [dataset(), dataset()])


def test_versions_stay_and_keep_their_bytes(tmp_path: Path) -> None:
    first = dataset(version="1", size=3, files=1)
    second = with_version(first, DatasetSpec(uri="file:b.csv", sha256=sha("b"), version="2"))
    assert [each.version for each in second.spec.versions] == ["2", "1"]
    assert find_version(second, "").sha256 == sha("b")
    assert find_version(second, "1").sha256 == sha("a")
    with pytest.raises(CatalogueError, match=r"version 1 of digits is .*--version 3"):
        with_version(second, DatasetSpec(uri="file:c.csv", sha256=sha("c"), version="1"))
    write(second, tmp_path / "digits.dataset.yaml")
    (held,) = entries(tmp_path)
    assert held.dataset == second
    assert held.as_written
    assert load(rendered(second), "x").problems == ()


def test_which_version_is_next() -> None:
    assert next_version(None, sha("a")) == "1"
    assert next_version(dataset(version="7"), sha("a")) == "7", "the same bytes"
    assert next_version(dataset(version="7"), sha("b")) == "8"
    assert next_version(dataset(version="2026-11"), sha("b")) == "2"


def test_a_file_that_somebody_edited_is_known(tmp_path: Path) -> None:
    write(dataset(), tmp_path / "a.dataset.yaml")
    place = tmp_path / "a.dataset.yaml"
    place.write_text("# mine\n" + place.read_text())
    (tmp_path / "broken.yaml").write_text("kind: Dataset\nspec: [")
    (held,) = entries(tmp_path)
    assert not held.as_written


@pytest.mark.parametrize(
    ("query", "labels", "found"),
    [("dig", {}, True), ("DIG", {"project": "vision"}, True), ("", {"project": "x"}, False), ("hand", {}, True)],
)
def test_search(query: str, labels: dict[str, str], found: bool) -> None:
    assert matches(dataset(description="Handwritten"), query, labels) is found


SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}, "t": {"type": ["number", "null"]}}}


@pytest.mark.parametrize(
    ("name", "data", "problems"),
    [
        ("a.jsonl", b'{"n": 1}\n\n{"n": 2}\n', []),
        ("a.jsonl.gz", gzip.compress(b'{"n": "x"}\n', mtime=0), ["row 1: n: 'x' is not of type 'integer'"]),
        ("a.csv", b"n,t\n1,0.5\n2,\n", []),
        ("a.csv", "\ufeffn,t\nx,0.5\n".encode(), ["row 1: n: 'x' is not of type 'integer'"]),
    ],
)
def test_rows(name: str, data: bytes, problems: list[str]) -> None:
    assert list(row_problems(rows_of(name, io.BytesIO(data), SCHEMA), SCHEMA)) == problems


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.jsonl", b"{"),
        ("a.csv", b"n,t\n1\n"),
        ("a.jsonl.gz", b"no gzip"),
        ("a.csv", b"n\n\xff\n"),
        ("a.csv", b'n\n"'),
    ],
)
def test_rows_that_cannot_be_read(name: str, data: bytes) -> None:
    with pytest.raises(RowsError):
        list(rows_of(name, io.BytesIO(data), SCHEMA))


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/x.json", "file:///etc/passwd", "other.json"])
def test_a_schema_fetches_nothing(reference: str) -> None:
    with pytest.raises(RowsError, match="refers to"):
        list(row_problems([(1, {})], {"anyOf": [{"$ref": reference}]}))


def test_no_schema() -> None:
    with pytest.raises(RowsError, match="no JSON Schema"):
        list(row_problems([(1, {})], {"type": 3}))


def test_croissant_there_and_back() -> None:
    entry = dataset(description="Digits", licence="CC-BY-4.0", citation="Alpaydin", version="2", size=9)
    value = write_croissant(entry, entry.spec, [("data/a.csv", sha("a"), 9)])
    assert (value["@type"], value["conformsTo"]) == ("sc:Dataset", "http://mlcommons.org/croissant/1.0")
    (file,) = value["distribution"]
    assert (file["@type"], file["contentSize"], file["encodingFormat"]) == ("cr:FileObject", "9 B", "text/csv")
    found = read_croissant(json.loads(json.dumps(value)))
    assert (found.name, found.version, found.licence, found.citation) == ("digits", "2", "CC-BY-4.0", "Alpaydin")
    assert (found.address, found.sha256, found.description) == ("data/a.csv", sha("a"), "Digits")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"distribution": []}, "choose one"),
        ({"distribution": [{"@type": "cr:FileObject", "@id": "a", "contentUrl": "x"}]}, "no sha256"),
        ({"distribution": [{"@type": "cr:FileObject", "@id": n, "contentUrl": "x"} for n in "ab"]}, "--file: a, b"),
        ({"distribution": [{"@type": "cr:FileSet", "@id": "a"}]}, "choose one"),
    ],
)
def test_a_croissant_that_cannot_be_taken(change: dict[str, object], why: str) -> None:
    with pytest.raises(CatalogueError, match=why):
        read_croissant({"name": "x", **change})
