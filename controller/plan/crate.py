"""RO-Crate 1.1 metadata of an exported run (https://w3id.org/ro/crate/1.1).

Promises: a pure function of the manifest and of the files in the archive, so that the same run gives the same bytes;
the run is a CreateAction with its inputs, its command and its results. Does not: invent a licence (it says that
none is stated), or describe a file that the archive does not hold.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from controller.api.canonical import hex_of, pretty_json
from controller.api.manifest import RunManifest

NAME = "ro-crate-metadata.json"
CONTEXT = "https://w3id.org/ro/crate/1.1/context"
RECORDS = {
    "README.md": ("How to verify this run without fetchml", "text/markdown"),
    "spec.yaml": ("The spec as it stood at launch", "application/yaml"),
    "plan.json": ("The plan: everything that can change the result", "application/json"),
    "run_manifest.json": ("The run manifest", "application/json"),
    "attestation.dsse.json": ("Signed statement: in-toto, SLSA provenance v1", "application/vnd.in-toto+json"),
    "verdict.dsse.json": ("Signed trust level: SLSA verification summary v1", "application/vnd.in-toto+json"),
    "run.log": ("Standard output and error of the run", "text/plain"),
}
"""Path to what it is, and its media type."""
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")
RUN, TOOL = "#run", "#fetchml"


def crate_metadata(manifest: RunManifest, sizes: Mapping[str, int], digests: Mapping[str, str]) -> bytes:
    """The bytes of ro-crate-metadata.json.

    Args:
        manifest: of the run.
        sizes: every other file of the archive by path, in bytes.
        digests: `sha256:<hex>` of those files whose digest is signed.
    """
    graph = [
        _descriptor(),
        _root(manifest, sizes),
        *(_file(path, sizes[path], digests.get(path)) for path in sorted(sizes)),
        *_inputs(manifest),
        {"@id": TOOL, "@type": "SoftwareApplication", "name": "fetchml", "version": _version(manifest)},
        _action(manifest, sizes),
    ]
    context = [CONTEXT, {"sha256": "https://schema.org/sha256"}]  # a term that the context of 1.1 lacks
    return pretty_json({"@context": context, "@graph": [_kept(entity) for entity in graph]})


def _kept(entity: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entity.items() if value not in (None, [], "")}


def _descriptor() -> dict[str, Any]:
    return {
        "@id": NAME, "@type": "CreativeWork", "about": {"@id": "./"},
        "conformsTo": {"@id": "https://w3id.org/ro/crate/1.1"},
    }  # fmt: skip


def _root(manifest: RunManifest, sizes: Mapping[str, int]) -> dict[str, Any]:
    published = manifest.ended_at or manifest.created_at
    return {
        "@id": "./",
        "@type": "Dataset",
        "name": f"Run {manifest.run_id} of the experiment {manifest.experiment}",
        "description": "One run with its plan, log, outputs and signed provenance; README.md says how to verify it.",
        "datePublished": published,
        "license": "No licence is stated. Ask whoever ran it before you use it.",
        "identifier": manifest.run_id,
        "hasPart": [_at(path) for path in sorted(sizes)],
        "mentions": {"@id": RUN},
    }


def _file(path: str, size: int, digest: str | None) -> dict[str, Any]:
    name, media = RECORDS.get(path, (path.rpartition("/")[2], "application/octet-stream"))
    return {
        "@id": _id(path), "@type": "File", "name": name, "contentSize": str(size), "encodingFormat": media,
        "sha256": hex_of(digest) if digest else None,
    }  # fmt: skip


def _inputs(manifest: RunManifest) -> Iterator[dict[str, Any]]:
    for dataset in manifest.datasets:
        yield {
            "@id": f"#dataset/{_id(dataset.name)}", "@type": "Dataset", "name": dataset.name,
            "identifier": dataset.sha256, "description": dataset.uri,
        }  # fmt: skip
    if manifest.commit_id and manifest.source:
        yield {
            "@id": f"#source/{manifest.commit_id}", "@type": "SoftwareSourceCode", "name": "source",
            "identifier": manifest.commit_id, "description": f"{manifest.source.path} of {manifest.source.repo}",
        }  # fmt: skip


def _action(manifest: RunManifest, sizes: Mapping[str, int]) -> dict[str, Any]:
    done = "CompletedActionStatus" if manifest.state == "completed" else "FailedActionStatus"
    return {
        "@id": RUN,
        "@type": "CreateAction",
        "name": manifest.run_id,
        "description": " ".join(manifest.command),
        "instrument": {"@id": TOOL},
        "object": [{"@id": entity["@id"]} for entity in _inputs(manifest)],
        "result": [_at(path) for path in sorted(sizes) if path.startswith("results/")],
        "startTime": manifest.started_at,
        "endTime": manifest.ended_at,
        "actionStatus": f"http://schema.org/{done}",
        "error": manifest.failure_reason,
    }


def _version(manifest: RunManifest) -> str:
    return manifest.runtime.controller_version


def _id(path: str) -> str:
    """A relative URI: what is not unreserved (RFC 3986) is percent-encoded as UTF-8, slashes excepted."""
    return "".join(chr(byte) if chr(byte) in _UNRESERVED else f"%{byte:02X}" for byte in path.encode())


def _at(path: str) -> dict[str, str]:
    return {"@id": _id(path)}
