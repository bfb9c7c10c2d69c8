"""Validators are built late, but never by two threads at once."""

import subprocess
import sys

_PROGRAM = """
from controller.api.base import models
from controller.reconcile import loop, manifest, reconciler  # everything that a reconciler uses

late = [model.__name__ for model in models() if not model.__pydantic_complete__]
reconciler.Reconciler(None)
left = [model.__name__ for model in models() if not model.__pydantic_complete__]
print("Experiment" in late, "ExperimentSpec" in late, left)
"""


def test_a_reconciler_builds_every_validator_before_it_has_threads() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True", "[]"]
