"""Generated files are current, and say what the models say: `make generate` writes them anew."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from referencing import Registry, Resource

from controller.api import schema
from controller.api.documents import KINDS, load
from controller.api.segments import segments
from controller.api.yaml_loader import parse
from controller.entrypoints import generate

ROOT = Path(__file__).parent.parent
SPECS = sorted(
    [
        *(ROOT / "tests" / "corpus" / "valid").glob("*.yaml"),
        *(ROOT / "examples").rglob("*.yaml"),
        *(ROOT / "specs").rglob("*.yaml"),
    ]
)
SCHEMA_FAULTS = sorted(
    path
    for path in (ROOT / "tests" / "corpus" / "malformed").glob("*.yaml")
    if b"\n# tag: schema\n" in path.read_bytes()
)
ONLY_THE_LOADER_CAN_TELL = {
    *("value-source-both", "value-source-neither"),  # a law that spans fields
    *("value-mount-relative", "value-mount-slash", "value-output-path-absolute"),  # laws about the segments of a path
    "value-seed-whole-float",  # 7.0 is an integer to JSON Schema
    "metadata-name-newline",  # Python's `$` stops before a final newline; an editor's does not
}
REGISTRY: Registry[Any] = Registry().with_resources(
    [(value["$id"], Resource.from_contents(value)) for value in schema.json_schemas().values()]
)


def test_files_are_current() -> None:
    # In a process of its own, as `make generate` is: models that other tests used may be built without descriptions.
    words = [sys.executable, "-m", "controller.entrypoints.generate", "--check"]
    checked = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, f"run `make generate`: {checked.stdout}{checked.stderr}"


def test_nothing_else_lies_beside_them() -> None:
    present = {str(path.relative_to(ROOT)) for folder in ("schemas", "crds") for path in (ROOT / folder).iterdir()}
    assert present == set(schema.files())


def test_writing_repairs_what_is_stale(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate.main([str(tmp_path), "--check"]) == 1
    assert generate.main([str(tmp_path)]) == 0
    (tmp_path / "schemas" / "quota.schema.json").write_text("{}")
    assert generate.main([str(tmp_path), "--check"]) == 1
    assert capsys.readouterr().out.endswith("stale schemas/quota.schema.json\n")
    assert generate.write(tmp_path) == ["schemas/quota.schema.json"]
    assert generate.main([str(tmp_path), "--check"]) == 0


def _errors(value: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(schema.any_kind(), registry=REGISTRY)
    return [error.message for error in validator.iter_errors(value)]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_loads_is_valid_for_editors(path: Path) -> None:
    assert load(path.read_bytes(), path.name).problems == ()
    for segment in segments(path.read_bytes()):
        value = parse(segment).value
        assert value is None or _errors(value) == []


@pytest.mark.parametrize("path", SCHEMA_FAULTS, ids=lambda path: path.stem)
def test_editors_mark_what_the_loader_refuses(path: Path) -> None:
    values = [parse(segment).value for segment in segments(path.read_bytes())]
    marked = any(_errors(value) for value in values if value is not None)
    assert marked != (path.stem in ONLY_THE_LOADER_CAN_TELL)


def _nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    children = [*node.get("properties", {}).values()]
    children += [child for name in ("items", "additionalProperties") if isinstance(child := node.get(name), dict)]
    return [node, *(below for child in children for below in _nodes(child))]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_crds_are_structural(kind: str) -> None:
    """The rules of Kubernetes: every node typed or open; no references, unions, titles; not both properties and a
    map."""
    (version,) = schema.crd(kind)["spec"]["versions"]
    for node in _nodes(version["schema"]["openAPIV3Schema"]):
        assert "type" in node or node.get("x-kubernetes-preserve-unknown-fields")
        assert not {"$ref", "anyOf", "oneOf", "allOf", "const", "title", "patternProperties", "$defs"} & set(node)
        assert not ("properties" in node and "additionalProperties" in node)
        assert (
            "properties" in node
            or "additionalProperties" in node
            or node.get("type") != "object"
            or node.get("x-kubernetes-preserve-unknown-fields")
        )
        assert node.get("type") != "array" or "items" in node
        assert node.get("default", 0) is not None
        assert set(node.get("required", ())) <= set(node.get("properties", {}))
    assert version["subresources"] == {"status": {}}


def test_the_experiment_crd_shows_what_operators_look_for() -> None:
    crd = schema.crd("Experiment")
    names, (version,) = crd["spec"]["names"], crd["spec"]["versions"]
    assert (names["shortNames"], names["categories"]) == (["exp"], ["ml"])
    columns = [column["name"] for column in version["additionalPrinterColumns"]]
    assert columns == ["PHASE", "TRUST", "QUEUE", "GPUS", "NODE", "COMMIT", "AGE"]
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    status = properties["status"]["properties"]
    assert {"phase", "conditions", "observedGeneration", "trustCaps", "resolved", "run", "provenance"} <= set(status)
    spec = properties["spec"]["properties"]
    assert spec["parameters"]["additionalProperties"] == {"x-kubernetes-preserve-unknown-fields": True}
    assert spec["scheduling"]["default"] == {}
    assert spec["source"]["nullable"]


def test_crds_read_back_as_yaml() -> None:
    for path, data in schema.files().items():
        if path.startswith("crds/"):
            (segment,) = segments(data)
            tree = parse(segment)
            assert tree.faults == ()
            assert tree.value == json.loads(json.dumps(schema.crd(tree.value["spec"]["names"]["kind"])))
