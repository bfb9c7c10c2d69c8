"""What `ml info` shows a person: what ran, on what, what came of it, how far it can be believed, what to do next.

Promises: made from the RunInfo object alone; what a run chose never steers the terminal. Does not: read files.
"""

import shlex
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from controller.entrypoints.cli.output import paint, short_digest
from controller.entrypoints.cli.shown import harmless, shown

Lines = Iterator[tuple[str, str]]
"""Name (empty: goes on) and text of a line."""
_MAX_METRICS, _MAX_OUTPUTS, _MAX_EVENTS = 20, 20, 8


def info_text(value: Mapping[str, Any], target: str, *, wide: bool) -> str:
    """The whole text; `target` names the run in further commands, `wide` shows every cap, event, metric and output."""
    manifest: Mapping[str, Any] = value["manifest"] or {}
    sections = [
        [*_head(value, manifest)],
        [*_inputs(manifest)],
        [*_host(manifest)],
        [*_results(value, manifest, wide=wide)],
        [*_trust(value, target, wide=wide)],
        [*_events(value["events"] if wide else value["events"][-_MAX_EVENTS:])],
        [("Next", command) for command in _next(value, target)],
    ]
    return "\n\n".join("\n".join(_line(*each) for each in _once(section)) for section in sections if section)


def _once(section: list[tuple[str, str]]) -> Lines:
    """A name is printed on its first line only."""
    before = ""
    for name, text in section:
        yield ("" if name == before else name), text
        before = name


def _line(name: str, text: str) -> str:
    return f"{name:<11} {text}".rstrip()


def _head(value: Mapping[str, Any], manifest: Mapping[str, Any]) -> Lines:
    result = value["result"]
    yield "Run", value["run"]
    yield "Experiment", value["experiment"]
    yield "State", paint(value["state"].capitalize())
    if result.get("reason"):
        yield "Because", harmless(f"{result['reason']}: {result.get('message', '')}")
    if manifest.get("exit_code") is not None:
        yield "Exit code", str(manifest["exit_code"])
    if manifest.get("started_at"):
        took = _took(manifest["started_at"], manifest.get("ended_at"))
        yield "Started", manifest["started_at"] + (f", took {took}" if took else ", still running")
    attempts = manifest.get("attempts", ())
    for attempt in attempts[:-1]:
        why = f"{attempt.get('reason') or 'ended'}: {attempt.get('message', '')}"
        yield "Attempts", harmless(f"{attempt['number']} {why}")
    if len(attempts) > 1:
        yield "Attempts", f"{attempts[-1]['number']} is the one recorded here"


def _took(start: str, end: str | None) -> str:
    if not end:
        return ""
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    if seconds < 120:
        return f"{seconds:.2f} s"
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours} h {rest // 60} min" if hours else f"{rest // 60} min {rest % 60} s"


def _inputs(manifest: Mapping[str, Any]) -> Lines:
    if not manifest:
        return
    yield "Command", shown(shlex.join(manifest["command"]), 500)
    for name, given in manifest.get("parameters", {}).items():
        yield "Parameters", f"{harmless(name)} = {shown(given, 100)}"
    if manifest.get("seed") is not None:
        yield "Seed", str(manifest["seed"])
    source = manifest.get("source")
    if manifest.get("commit_id"):
        repo = f" of {source['repo']}" if source and source["repo"] != "." else ""
        where = f", folder {source['path']}{repo}" if source else ""
        yield "Code", harmless(f"commit {manifest['commit_id']}{where}")
    if manifest.get("snapshot"):
        yield "Code", f"snapshot {manifest['snapshot']}"
    yield from _environment(manifest)
    for data in manifest.get("datasets", ()):
        digest, size = short_digest(data.get("sha256")), _size(data.get("size", 0))
        yield "Dataset", harmless(f"{data['name']}  {digest}  {size}  {_after(data)}  {data['uri']}")


def _environment(manifest: Mapping[str, Any]) -> Lines:
    if manifest.get("image"):
        yield "Image", harmless(manifest["image"])
    interpreter, lock = manifest["runtime"].get("interpreter"), manifest.get("deps_manifest")
    if interpreter:
        yield "Python", harmless(f"{interpreter['version']} ({interpreter['implementation']})")
    if lock:
        yield "Packages", harmless(f"{lock['manifest']}  {short_digest(lock.get('sha256'))}")


def _after(data: Mapping[str, Any]) -> str:
    if not data.get("sha256_after"):
        return "not hashed again after the run"
    return "the same after the run" if data["sha256_after"] == data.get("sha256") else "CHANGED during the run"


def _host(manifest: Mapping[str, Any]) -> Lines:
    node: Mapping[str, Any] = manifest.get("node", {})
    if not node:
        return
    yield "Host", harmless(", ".join(node[part] for part in ("hostname", "os", "kernel") if node.get(part)))
    if node.get("cpus"):
        yield (
            "Host",
            harmless(f"{node['cpus']} CPUs {node.get('cpu_model', '')}, {_size(node.get('memory', 0))} of memory"),
        )
    for gpu in node.get("gpus", ()):
        yield "GPU", harmless(f"{gpu['model']}, {_size(gpu['memory'])}, driver {gpu['driver']}, {gpu['uuid']}")
    runtime = manifest["runtime"]
    sandbox = runtime.get("sandbox", {})
    how = sandbox.get("launcher") or "none observed"
    network = "no network" if sandbox.get("network") is False else "with network" if sandbox.get("network") else ""
    yield "Runtime", harmless(f"{runtime['name']}, sandbox {how}" + (f", {network}" if network else ""))


def _results(value: Mapping[str, Any], manifest: Mapping[str, Any], *, wide: bool) -> Lines:
    metrics: Mapping[str, Any] = value["result"].get("metrics", {})
    listed = list(metrics.items())[: None if wide else _MAX_METRICS]
    yield from (("Metrics", f"{shown(name, 60)} = {shown(number)}") for name, number in listed)
    if len(listed) < len(metrics):
        yield "Metrics", f"and {len(metrics) - len(listed)} more (-o wide)"
    outputs = manifest.get("outputs") or value["result"].get("outputs", ())
    for output in outputs[: None if wide else _MAX_OUTPUTS]:
        yield (
            "Outputs",
            f"{shown(output['path'], 200)}  {short_digest(output['sha256'])}  {_size(output.get('size', 0))}",
        )
    if not wide and len(outputs) > _MAX_OUTPUTS:
        yield "Outputs", f"and {len(outputs) - _MAX_OUTPUTS} more (-o wide)"
    if manifest.get("logs"):
        cut = ", cut off at its limit" if manifest["logs"].get("truncated") else ""
        yield "Log", f"{_size(manifest['logs']['size'])}{cut}"
    yield "Records", harmless(value["folder"])


def _trust(value: Mapping[str, Any], target: str, *, wide: bool) -> Lines:
    trust: Mapping[str, Any] = value["result"].get("trust", {})
    if trust.get("level"):
        yield "Trust", f"{trust['level']}, as recorded; `ml verify {target}` proves it"
    for cap in trust.get("caps", ()):
        if wide or cap["level"] == trust.get("level"):
            yield "", harmless(f"<= {cap['level']}  {cap['reason']}: {cap['message']}")
    yield "Plan", value["planSha256"]
    reproduced = value.get("reproduction")
    if reproduced:
        yield (
            "Reproduced",
            harmless(f"{'yes' if reproduced['reproduced'] else 'NO'}, by {reproduced['run']}, as recorded"),
        )


def _events(events: list[Mapping[str, Any]]) -> Lines:
    yield from (("Events", harmless(f"{e['at']}  {e['reason']}: {e['message']}")) for e in events)


def _next(value: Mapping[str, Any], target: str) -> Iterator[str]:
    here = target == value["run"]
    if value["state"] == "active":
        yield from (f"ml logs -f {target}", f"ml cancel {target}")
        return
    if here:
        yield f"ml logs {target}"
    yield from (f"ml verify {target}", f"ml compare {target} ANOTHER")
    if value["state"] == "succeeded":
        yield f"ml reproduce {target}"
    if here:
        yield f"ml export {target}"


def _size(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
