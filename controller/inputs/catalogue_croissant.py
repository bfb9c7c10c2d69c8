"""Croissant 1.0 (MLCommons' JSON-LD for datasets): reading a description, and writing one of an entry.

Promises: what is written has a FileObject with sha256, size and address for every file; what is read must state the
sha256 of its file, because nothing here is fetched without one. Does not: read record sets (rows are described by JSON
Schema here), or keep fields that a catalogue entry does not have.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controller.api.catalog import Dataset, DatasetVersion
from controller.inputs.catalogue import CatalogueError

CONFORMS = "http://mlcommons.org/croissant/1.0"
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "dct": "http://purl.org/dc/terms/",
    "sc": "https://schema.org/",
    "sha256": "cr:sha256",
}
_FORMATS = {
    ".csv": "text/csv",
    ".jsonl": "application/jsonlines",
    ".json": "application/json",
    ".gz": "application/gzip",
}


@dataclass(frozen=True, slots=True)
class Described:
    """What a Croissant file says of one file."""

    name: str
    address: str
    """contentUrl: a web address, or a path from the Croissant file."""
    sha256: str
    version: str
    description: str
    licence: str
    citation: str


def read(value: Any, wanted: str = "") -> Described:
    """One file of a Croissant description: the one whose @id or name is `wanted`, or the only one.

    Raises:
        CatalogueError: no Croissant, no such file, several, or one without sha256 or contentUrl.
    """
    if not isinstance(value, Mapping) or "distribution" not in value:
        raise CatalogueError("no Croissant description: it has no distribution")
    listed = value["distribution"]
    files = [each for each in (listed if isinstance(listed, list) else [listed]) if _is_file(each)]
    found = [each for each in files if not wanted or wanted in (each.get("@id"), each.get("name"))]
    if len(found) != 1:
        names = ", ".join(str(each.get("@id") or each.get("name")) for each in files) or "none"
        raise CatalogueError(f"choose one of its files with --file: {names}")
    digest, address = str(found[0].get("sha256", "")).lower(), str(found[0].get("contentUrl", ""))
    if not re.fullmatch("[0-9a-f]{64}", digest) or not address:
        raise CatalogueError(f"{found[0].get('@id')!r} has no sha256, or no contentUrl; nothing is taken without them")
    return Described(
        name=_label(str(value.get("name", ""))),
        address=address,
        sha256="sha256:" + digest,
        version=str(value.get("version", "")),
        description=str(value.get("description", ""))[:4096],
        licence=_text(value.get("license", ""))[:256],
        citation=str(value.get("citeAs", value.get("citation", "")))[:4096],
    )


def _is_file(each: Any) -> bool:
    return isinstance(each, Mapping) and str(each.get("@type", "")).rpartition(":")[2] == "FileObject"


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _label(name: str) -> str:
    """The name as an RFC 1035 label, as near as can be."""
    return re.sub(r"^[^a-z]+|-+$", "", re.sub(r"[^a-z0-9]+", "-", name.lower()))[:40].rstrip("-")


def write(dataset: Dataset, version: DatasetVersion, files: Iterable[tuple[str, str, int]]) -> dict[str, Any]:
    """The description of one version; `files` are (path or address, sha256, bytes; -1: not known)."""
    spec = dataset.spec
    said = {"description": spec.description, "license": spec.licence, "citeAs": spec.citation}
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": CONFORMS,
        "name": dataset.metadata.name,
        "version": version.version,
        **{key: text for key, text in said.items() if text},
        "distribution": [_file(*each) for each in files],
    }


def _file(path: str, sha256: str, size: int) -> dict[str, Any]:
    name = path.rpartition("/")[2]
    kind = next((kind for suffix, kind in _FORMATS.items() if name.endswith(suffix)), "application/octet-stream")
    value = {
        "@type": "cr:FileObject",
        "@id": path,
        "name": name,
        "contentUrl": path,
        "encodingFormat": kind,
        "sha256": sha256.removeprefix("sha256:"),
    }
    return value | ({"contentSize": f"{size} B"} if size >= 0 else {})
