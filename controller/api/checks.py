"""What a valid-looking Experiment or Dataset may still get wrong, as far as the document alone can tell.

Promises: every check runs on the plain values of the document, so that a spec with other faults is checked too, and
each finding names a field and a fix. Does not: look at the world (that is preflight), or change anything.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from controller.api.addresses import REPO_FIX, is_image, is_label_key, is_label_value, remembered, repo_fault, uri_fault
from controller.api.base import BYTES_PATTERN, CPU_PATTERN, DURATION_PATTERN, byte_count, cores, seconds
from controller.api.canonical import MAX_INTEGER
from controller.api.paths import Step

Values = Mapping[str, Any]


class Finding(NamedTuple):
    """One semantic fault; `steps` lead from the document's root to the value at fault."""

    steps: tuple[Step, ...]
    reason: str
    message: str
    fix: str
    at_key: bool = False
    """The key is at fault, not its value."""


class Findings(list[Finding]):
    """What the checks found so far."""

    def add(self, steps: tuple[Step, ...], reason: str, message: str, fix: str, *, at_key: bool = False) -> None:
        self.append(Finding(steps, reason, message, fix, at_key))


# --- reading values that may have any shape --------------------------------------------------------------------------


def _mapping(value: Any, name: str) -> dict[str, Any]:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def _list(value: Values, name: str) -> list[Any]:
    found = value.get(name)
    return found if isinstance(found, list) else []


def _texts(value: Values, listed: str, name: str) -> Iterator[tuple[int, str]]:
    """(index, text of the field `name`) of each item of a list that has one."""
    for index, item in enumerate(_list(value, listed)):
        if isinstance(item, dict) and isinstance(item.get(name), str):
            yield index, item[name]


def _meant(word: str, choices: list[str]) -> str:
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else ""


# --- references ------------------------------------------------------------------------------------------------------

_OPENING = re.compile(r"(\$+)\(")


@remembered
def references(text: str) -> tuple[tuple[str, bool], ...]:
    """(name, whether it is closed) of each `$(name)`.

    The grammar is that of plan/substitute, which gives the forms their values: `$$(` is a literal `$(`.
    """
    at = 0
    found = []
    while (opening := _OPENING.search(text, at)) is not None:
        at = opening.end()
        if len(opening.group(1)) % 2:
            end = text.find(")", at)
            found.append((text[at:] if end < 0 else text[at:end], end >= 0))
            at = len(text) if end < 0 else end + 1
    return tuple(found)


_UNCLOSED = ("$( is not closed", "close it with ), or write $$( for a literal $(")
PLAIN_REFERENCES = ("seed", "workspace", "results", "checkpoints")


def _reference(name: str, spec: Values) -> tuple[str, str] | None:
    """(message, fix) when `$(name)` means nothing in this spec."""
    space, _, rest = name.partition(".")
    if space in {"params", "data"} and rest:
        known = (
            list(_mapping(spec, "parameters"))
            if space == "params"
            else [text for _, text in _texts(spec, "datasets", "name")]
        )
        if rest in known:
            return None
        listed = "spec.parameters" if space == "params" else "spec.datasets"
        return f"$({name}) names nothing in {listed}", _meant(rest, known) or f"add {rest} to {listed}"
    if name == "seed":
        return (
            None if spec.get("seed") is not None else ("$(seed) is used, but there is no seed", "add seed: 7 to spec")
        )
    if name in PLAIN_REFERENCES:
        return None
    forms = [*PLAIN_REFERENCES, *(f"params.{key}" for key in _mapping(spec, "parameters"))]
    forms += [f"data.{text}" for _, text in _texts(spec, "datasets", "name")]
    return f"$({name}) is no reference", _meant(name, forms) or f"write $$({name}) for a literal $({name})"


def _referring(spec: Values) -> Iterator[tuple[tuple[Step, ...], str]]:
    """(steps, text) of every argument and variable that holds a reference."""
    for index, text in enumerate(_list(spec, "command")):
        if isinstance(text, str) and "$(" in text:
            yield ("spec", "command", index), text
    for key, text in _mapping(spec, "env").items():
        if isinstance(text, str) and "$(" in text:
            yield ("spec", "env", key), text


def _references(spec: Values, found: Findings) -> None:
    for steps, text in _referring(spec):
        for name, closed in references(text):
            wrong = _reference(name, spec) if closed else _UNCLOSED
            if wrong:
                found.add(steps, "UnknownReference", *wrong)


# --- names and places ------------------------------------------------------------------------------------------------


def _duplicates(spec: Values, found: Findings) -> None:
    for listed, names in (("datasets", ("name",)), ("outputs", ("name", "path")), ("secrets", ("name", "env"))):
        if len(_list(spec, listed)) < 2:
            continue
        for name in names:
            seen: set[str] = set()
            for index, text in _texts(spec, listed, name):
                if text in seen:
                    reason = "DuplicateName" if name == "name" else "DuplicateValue"
                    message = f"two {listed} have the {name} {text}"
                    found.add(("spec", listed, index, name), reason, message, "change one of the two")
                seen.add(text)


_OWN_FOLDERS = ("/workspace", "/results", "/checkpoints")


def _mounts(spec: Values, found: Findings) -> None:
    taken: dict[str, str] = dict.fromkeys(_OWN_FOLDERS, "a folder of the run")
    for index, item in enumerate(_list(spec, "datasets")):
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            continue
        path = item.get("mountPath", f"/data/{name}")
        if not isinstance(path, str) or path in _OWN_FOLDERS:
            continue
        steps: tuple[Step, ...] = ("spec", "datasets", index, "mountPath")
        for other, owner in taken.items():
            if path == other:
                found.add(
                    steps,
                    "DuplicateMountPath",
                    f"{path} is also the mountPath of {owner}",
                    f"write mountPath: /data/{name}",
                )
            elif path.startswith(other + "/") or other.startswith(path + "/"):
                found.add(
                    steps,
                    "NestedMountPath",
                    f"{path} and {other} ({owner}) lie in one another",
                    f"write mountPath: /data/{name}",
                )
        taken.setdefault(path, f"dataset {name}")


# --- environment variables -------------------------------------------------------------------------------------------

_RESERVED_PREFIXES = ("FETCHML_", "LD_", "DYLD_")
_RESERVED_ENV = frozenset(
    [
        "BASH_ENV",
        "ENV",
        "SHELLOPTS",
        "BASHOPTS",
        "IFS",
        "GCONV_PATH",
        "GLIBC_TUNABLES",
        "LOCPATH",
        "NLSPATH",
        "HOSTALIASES",
        "PYTHONHOME",
        "PYTHONSTARTUP",
        "CUDA_VISIBLE_DEVICES",
        "NVIDIA_VISIBLE_DEVICES",
        "NVIDIA_DRIVER_CAPABILITIES",
        "ROCR_VISIBLE_DEVICES",
        "HIP_VISIBLE_DEVICES",
    ]
)


def _reserved(name: str) -> tuple[str, str] | None:
    if name.startswith("FETCHML_"):
        return f"{name} is set by the runner", "choose a name without FETCHML_"
    if name.endswith("_VISIBLE_DEVICES") and name in _RESERVED_ENV:
        return f"{name} is set by the runner from the GPUs that the run is given", "ask for GPUs in spec.resources.gpu"
    if name.startswith(_RESERVED_PREFIXES) or name in _RESERVED_ENV:
        return (
            f"{name} changes what programs load before they start",
            "delete it; set it inside your program if it must be",
        )
    return None


def _environment(spec: Values, found: Findings) -> None:
    env = _mapping(spec, "env")
    names: list[tuple[tuple[Step, ...], str]] = [(("spec", "env", name), name) for name in env]
    for index, name in _texts(spec, "secrets", "env"):
        names.append((("spec", "secrets", index, "env"), name))
        if name in env:
            found.add(
                ("spec", "secrets", index, "env"),
                "DuplicateEnv",
                f"{name} is also in spec.env",
                "delete one of the two",
            )
    for steps, name in names:
        wrong = _reserved(name)
        if wrong:
            found.add(steps, "ReservedEnv", *wrong, at_key=steps[1] == "env")


# --- addresses, paths, amounts ---------------------------------------------------------------------------------------


def _repository(spec: Values, found: Findings) -> None:
    repo = _mapping(_mapping(spec, "source"), "git").get("repo")
    fault = repo_fault(repo) if isinstance(repo, str) and repo else None
    if fault:
        found.add(("spec", "source", "git", "repo"), "InvalidRepo", fault, REPO_FIX)


def _uris(spec: Values, found: Findings) -> None:
    for index, uri in _texts(spec, "datasets", "uri"):
        fault = uri_fault(uri) if uri else None
        if fault:
            found.add(("spec", "datasets", index, "uri"), "InvalidUri", *fault)


def _image(spec: Values, found: Findings) -> None:
    image = _mapping(spec, "environment").get("image")
    if isinstance(image, str) and image and not is_image(image):
        fix = "write registry/name@sha256:<64 hexadecimal digits>, in lower case"
        found.add(("spec", "environment", "image"), "InvalidImage", "is no reference of an image", fix)


_SBATCH = re.compile(r"^\s*#SBATCH", re.MULTILINE)


def _command(spec: Values, found: Findings) -> None:
    command = _list(spec, "command")
    if command and isinstance(command[0], str) and not command[0].strip():
        found.add(("spec", "command", 0), "InvalidCommand", "the program has no name", "write a program such as python")
    for index, text in enumerate(command):
        if isinstance(text, str) and "\r" in text:
            what, fix = "an argument may not contain a carriage return", "end its lines with a line feed alone"
            found.add(("spec", "command", index), "InvalidCommand", what, fix)
        elif isinstance(text, str) and _SBATCH.search(text):
            what, fix = "a line of an argument is a directive of Slurm", "write it otherwise, such as '# SBATCH'"
            found.add(("spec", "command", index), "InvalidCommand", what, fix)
        elif index == 0 and isinstance(text, str) and "\n" in text:
            fix = "write [bash, -c, <the script>], or put it into a file of the source and run that"
            found.add(("spec", "command", index), "InvalidCommand", "a program's name has no line ends", fix)


def _paths(spec: Values, found: Findings) -> None:
    source, dependencies = _mapping(spec, "source"), _mapping(_mapping(spec, "environment"), "dependencies")
    places: list[tuple[tuple[Step, ...], Any]] = [
        (("spec", "source", "git", "path"), _mapping(source, "git").get("path")),
        (("spec", "environment", "dependencies", "manifest"), dependencies.get("manifest")),
    ]
    places += [(("spec", "outputs", index, "path"), path) for index, path in _texts(spec, "outputs", "path")]
    for steps, path in places:
        if isinstance(path, str) and path.startswith("-"):
            found.add(steps, "InvalidPath", "begins with '-', as an option does", f"write ./{path} or rename it")


_MOST_SECONDS = 10 * 366 * 86400
_AMOUNTS = {"cpu": CPU_PATTERN, "memory": BYTES_PATTERN, "disk": BYTES_PATTERN, "deadline": DURATION_PATTERN}


@lru_cache(maxsize=1024)
def _amount_fault(name: str, text: str) -> str | None:
    """What is wrong with an amount that is spelled well."""
    if not re.fullmatch(_AMOUNTS[name], text):
        return None
    if name == "deadline":
        return None if 0 < seconds(text) <= _MOST_SECONDS else "is no time between a moment and ten years"
    if name == "cpu":
        return None if cores(text) > 0 else "is no CPU at all"
    return None if 1 <= byte_count(text) <= MAX_INTEGER else "is no amount of bytes that a machine has"


def _amounts(spec: Values, found: Findings) -> None:
    resources = _mapping(spec, "resources")
    groups: tuple[tuple[tuple[Step, ...], Values, tuple[str, ...]], ...] = (
        (("spec", "resources"), resources, ("cpu", "memory", "disk")),
        (("spec", "resources", "gpu"), _mapping(resources, "gpu"), ("memory",)),
        (("spec", "scheduling"), _mapping(spec, "scheduling"), ("deadline",)),
    )
    for steps, values, names in groups:
        for name in names:
            text = values.get(name)
            fault = _amount_fault(name, text) if isinstance(text, str) and len(text) <= 32 else None
            if fault:
                found.add((*steps, name), "InvalidAmount", fault, "write what one run really needs")


# --- labels ----------------------------------------------------------------------------------------------------------


def _labels(document: Values, found: Findings) -> None:
    metadata = _mapping(document, "metadata")
    for part in ("labels", "annotations"):
        for key, value in _mapping(metadata, part).items():
            if not is_label_key(key):
                fix = "write name or example.org/name, with letters, digits and - _ ."
                found.add(("metadata", part, key), "InvalidLabel", f"{key!r} is no key of {part}", fix, at_key=True)
            elif part == "labels" and isinstance(value, str) and not is_label_value(value):
                fix = "use at most 63 letters, digits and - _ ., or write an annotation"
                found.add(("metadata", part, key), "InvalidLabel", f"{value!r} is no value of a label", fix)


_EXPERIMENT = (
    *(_references, _duplicates, _mounts, _environment, _repository),
    *(_uris, _image, _command, _paths, _amounts),
)


def findings(document: Values) -> list[Finding]:
    """Every semantic fault of a document, given as plain values of any shape."""
    found = Findings()
    _labels(document, found)
    spec = _mapping(document, "spec")
    if document.get("kind") == "Experiment":
        for check in _EXPERIMENT:
            check(spec, found)
    elif document.get("kind") == "Dataset" and isinstance(spec.get("uri"), str):
        fault = uri_fault(spec["uri"]) if spec["uri"] else None
        if fault:
            found.add(("spec", "uri"), "InvalidUri", *fault)
    return found
