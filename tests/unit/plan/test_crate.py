"""RO-Crate metadata: every file once, every reference resolved, the same bytes from the same run."""

import json
from typing import Any

from controller.plan.crate import NAME, crate_metadata
from tests.fakes.signed_run import content, manifest_of

SIZES = {"plan.json": 90, "run_manifest.json": 900, "results/a b%é.txt": 3, "trust/k.pub.pem": 9}
DIGESTS = {"plan.json": "sha256:" + "a" * 64}


def crate(**changes: Any) -> dict[str, dict[str, Any]]:
    document = json.loads(crate_metadata(manifest_of(content(), **changes), SIZES, DIGESTS))
    assert document["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in document["@graph"]}
    assert len(entities) == len(document["@graph"])
    return entities


def references(value: Any) -> set[str]:
    if isinstance(value, list):
        return set().union(*map(references, value)) if value else set()
    if not isinstance(value, dict):
        return set()
    here = {value["@id"]} if set(value) == {"@id"} else set()
    return here.union(*(references(each) for each in value.values()))


def test_the_root_and_its_descriptor() -> None:
    entities = crate()
    assert entities[NAME]["about"] == {"@id": "./"}
    root = entities["./"]
    assert (root["@type"], root["datePublished"]) == ("Dataset", "2026-01-02T03:05:00Z")
    assert {"name", "description", "license"} <= set(root), "required by RO-Crate 1.1"
    assert {part["@id"] for part in root["hasPart"]} == {
        *("plan.json", "run_manifest.json", "results/a%20b%25%C3%A9.txt", "trust/k.pub.pem")
    }


def test_every_reference_leads_somewhere() -> None:
    entities = crate()
    found = references(list(entities.values())) - {"https://w3id.org/ro/crate/1.1"}
    assert found <= set(entities)


def test_the_action_says_what_went_in_and_what_came_out() -> None:
    action = crate()["#run"]
    assert {each["@id"] for each in action["object"]} == {"#dataset/digits", "#source/" + "c" * 40}
    assert [each["@id"] for each in action["result"]] == ["results/a%20b%25%C3%A9.txt"]
    assert action["actionStatus"] == "http://schema.org/CompletedActionStatus"
    failed = crate(state="failed", exit_code=None, failure_reason="OutOfMemory", attempts=[], attempt=1)["#run"]
    assert (failed["actionStatus"], failed["error"]) == ("http://schema.org/FailedActionStatus", "OutOfMemory")


def test_only_a_signed_digest_is_stated() -> None:
    entities = crate()
    assert entities["plan.json"]["sha256"] == "a" * 64
    assert "sha256" not in entities["run_manifest.json"]
    assert entities["plan.json"]["contentSize"] == "90"


def test_the_same_run_gives_the_same_bytes() -> None:
    manifest = manifest_of(content())
    assert crate_metadata(manifest, SIZES, DIGESTS) == crate_metadata(manifest, dict(reversed(SIZES.items())), DIGESTS)
