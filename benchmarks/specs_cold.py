"""10,000 specs cold: load, validate and digest, beside PyYAML's C composer and pydantic's validation alone.

Promises: both sides read the same bytes in one interleaved run; medians and spread of at least ten rounds, and the
median of the ratios of the rounds. CPU time: the work is one thread without I/O, and a shared machine steals wall
time at random. The floor composes and validates and does nothing else: no positions, no strictness, no digest, and
its values are given to it.
"""

import copy
import gc
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import yaml

from controller.api.documents import load
from controller.api.experiment import Experiment

NAME = "specs_cold"
GOAL = 1.5
_HEX = "0123456789abcdef" * 4
_TEMPLATE = """\
# yaml-language-server: $schema=../schemas/experiment.schema.json
apiVersion: fetchml.dev/v1alpha1
kind: Experiment
metadata:
  name: digits-{n}
  labels: {{project: vision}}
spec:
  description: softmax regression on the optical digits, run {n}
  owner: alice
  source:
    git: {{repo: ".", commit: {commit}, path: examples/digits}}
  environment:
    python: "3.11"
    dependencies: {{manifest: requirements.lock, sha256: "sha256:{hex}"}}
  command: [python, train.py, --lr, $(params.lr), --epochs, $(params.epochs)]
  parameters: {{lr: 1e-3, epochs: 10, batch: 64, tag: run-{n}}}
  seed: {n}
  env: {{OMP_NUM_THREADS: "1"}}
  datasets:
  - name: digits
    uri: file:data/digits.csv.gz
    sha256: "sha256:{hex}"
    mountPath: /data/digits
  outputs:
  - {{name: model, path: model.npz, required: true}}
  checkpoint: {{graceSeconds: 60}}
  resources: {{cpu: "2", memory: 2Gi, disk: 1Gi}}
  reproducibility: {{policy: strict, minTrustLevel: L1, tolerances: {{accuracy: 0.01}}}}
  scheduling:
    target: local
    queue: default
    priority: 50
    deadline: 2h
    retries: {{max: 2, reasons: [NodeLost, RuntimeLost]}}
"""


def specs(n: int) -> list[bytes]:
    """`n` distinct valid experiments."""
    return [_TEMPLATE.format(n=i, hex=_HEX, commit=f"{i:08x}" + "abcdef01" * 4).encode() for i in range(n)]


def _floor(texts: list[bytes], values: list[dict[str, Any]]) -> None:
    for text, value in zip(texts, values, strict=True):
        yaml.compose(text, Loader=yaml.CSafeLoader)
        Experiment.model_validate(value)


def _ours(texts: list[bytes]) -> None:
    for text in texts:
        load(text, "spec.yaml").documents[0].spec_sha256  # noqa: B018  # a property that computes


def _seconds(work: Callable[[], None]) -> float:
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


def run(n: int = 10_000, rounds: int = 11, batch: int = 1_000) -> dict[str, Any]:
    """Time both sides on `batch` of `n` specs in each of `rounds` rounds; microseconds per spec and the ratio of
    medians."""
    texts = specs(n)
    plain = load(texts[0], "spec.yaml").documents[0].model.model_dump(mode="json", by_alias=True, exclude_none=True)
    values = [copy.deepcopy(plain) for _ in range(batch)]
    ours, floor = [], []
    for index in range(max(rounds, 10)):
        start = index * batch % max(n - batch, 1)
        part = texts[start : start + batch]
        floor.append(_seconds(partial(_floor, part, values[: len(part)])) / len(part) * 1e6)
        ours.append(_seconds(partial(_ours, part)) / len(part) * 1e6)
    ratio = statistics.median(a / b for a, b in zip(ours, floor, strict=True))
    result = {
        "name": NAME,
        "unit": "us per spec",
        "n": n,
        "rounds": len(ours),
        "ours": _spread(ours),
        "floor": _spread(floor),
        "ratio": round(ratio, 3),
        "goal": GOAL,
        "met": ratio <= GOAL,
    }
    print(f"{NAME}, us per spec: ours {result['ours']}, floor {result['floor']}")
    print(f"{NAME}: ratio {ratio:.2f} (goal: at most {GOAL})")
    return result


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": round(statistics.median(values), 1), "min": round(min(values), 1), "max": round(max(values), 1)}


if __name__ == "__main__":
    run()
