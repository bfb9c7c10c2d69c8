"""Names are used once, mounts do not overlap, and outputs are files in the results folder.

Reasons (all Refuse): DuplicateName, MountOverlap, MountReserved, InvalidOutputPath, ReservedVariable.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from controller.preflight.model import Context, Finding, Rule

RULE = Rule("paths")

_RESERVED = ("/workspace", "/results", "/checkpoints")
_RESERVED_VARIABLE = re.compile(r"FETCHML_.*|LD_.*|GCONV_PATH|BASH_ENV|ENV|PYTHONHOME|PYTHONINSPECT")


def check(context: Context) -> Iterator[Finding]:
    """Every objection, by field."""
    objections = (*_duplicates(context), *_mounts(context), *_outputs(context), *_variables(context))
    yield from objections or (RULE.passed("names and mounts are distinct"),)


def _duplicates(context: Context) -> Iterator[Finding]:
    spec = context.spec
    groups: Sequence[tuple[str, str, Iterable[str]]] = (
        ("spec.datasets", "name", (item.name for item in spec.datasets)),
        ("spec.outputs", "name", (item.name for item in spec.outputs)),
        ("spec.secrets", "env", (item.env for item in spec.secrets)),
    )
    for place, key, values in groups:
        seen: set[str] = set()
        for index, value in enumerate(values):
            if value in seen:
                field = f"{place}[{index}].{key}"
                yield RULE.refuse(
                    "DuplicateName", f"{value!r} is used twice in {place}", field, "give each its own name"
                )
            seen.add(value)


def _mounts(context: Context) -> Iterator[Finding]:
    mounts = [(index, item.mount_path or f"/data/{item.name}") for index, item in enumerate(context.spec.datasets)]
    for position, (index, mount) in enumerate(mounts):
        field = f"spec.datasets[{index}].mountPath"
        free = f"write mountPath: /data/{context.spec.datasets[index].name}"
        for reserved in _RESERVED:
            if _overlap(mount, reserved):
                message = f"{mount} overlaps with {reserved}, which belongs to the run"
                yield RULE.refuse("MountReserved", message, field, free)
        for _, other in mounts[:position]:
            if _overlap(mount, other):
                message = f"{mount} overlaps with the mount {other}"
                yield RULE.refuse("MountOverlap", message, field, "give each dataset a folder that no other one holds")


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _outputs(context: Context) -> Iterator[Finding]:
    for index, output in enumerate(context.spec.outputs):
        if {"", "."} & set(output.path.split("/")):
            message = f"{output.path!r} does not name a file in the results folder"
            plain = "/".join(part for part in output.path.split("/") if part not in {"", "."})
            field = f"spec.outputs[{index}].path"
            yield RULE.refuse("InvalidOutputPath", message, field, f"write path: {plain or output.name}")


def _variables(context: Context) -> Iterator[Finding]:
    names = [(f"spec.env.{name}", name) for name in context.spec.env]
    names += [(f"spec.secrets[{index}].env", item.env) for index, item in enumerate(context.spec.secrets)]
    for field, name in names:
        if _RESERVED_VARIABLE.fullmatch(name):
            message = f"{name} belongs to the run, or changes what programs load"
            yield RULE.refuse("ReservedVariable", message, field, "choose another name, or pass it as an argument")
        elif field.startswith("spec.secrets") and name in context.spec.env:
            message = f"{name} is set by spec.env too"
            yield RULE.refuse("DuplicateName", message, field, f"remove spec.env.{name}")
