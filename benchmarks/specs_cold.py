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

from benchmarks.rows import QUICK_ROUNDS, ROUNDS, Row, at_most, spread
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


def rows(quick: bool = False) -> tuple[Row, ...]:
    """CPU time a spec; each round takes other specs."""
    count, rounds, batch = (200, QUICK_ROUNDS, 50) if quick else (10_000, ROUNDS, 900)
    texts = specs(count)
    plain = load(texts[0], "spec.yaml").documents[0].model.model_dump(mode="json", by_alias=True, exclude_none=True)
    values = [copy.deepcopy(plain) for _ in range(batch)]
    ours, floor = [], []
    for index in range(rounds):
        part = texts[index * batch : (index + 1) * batch]
        floor.append(_seconds(partial(_floor, part, values[: len(part)])) / len(part) * 1e6)
        ours.append(_seconds(partial(_ours, part)) / len(part) * 1e6)
    ratio = statistics.median(a / b for a, b in zip(ours, floor, strict=True))
    row = Row(
        f"{count:,} specs cold: load, validate, digest",
        "us CPU a spec",
        spread(ours),
        spread(floor),
        "PyYAML C compose + pydantic validate",
        goals=(at_most("ratio to the floor", ratio, GOAL, "x"),),
    )
    return (row,)
