"""The digits example on processes, Docker and Podman: the same wheels and one thread give the same bytes."""

import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.faults.world import ROOT, World
from tests.testbed import engines

PYTHON = "3.11.2"
"""Debian 12's, on the host as in the image: another patch release writes other zip headers into the same model."""
DEPENDENCIES = re.compile(r"    dependencies:\n(      .*\n)+")


class DigitsWorld(World):
    """A repository with the example alone."""

    kind = "process"

    def environment(self) -> dict[str, str]:
        """With the runtime in the settings."""
        where = {"FETCHML_RUNTIME": self.kind}
        return (
            super().environment()
            | where
            | ({"FETCHML_ENGINE": engines.host(self.kind)} if self.kind != "process" else {})
        )

    def fill(self, spec: str) -> "DigitsWorld":
        """The example with this spec, committed."""
        shutil.copytree(ROOT / "examples/digits", self.repo / "examples/digits")
        (self.repo / "examples/digits/digits-softmax.yaml").write_text(spec)
        (self.repo / ".gitignore").write_text(".fetchml/\n")
        for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
            subprocess.run(["git", *arguments], cwd=self.repo, check=True, env=self.environment())
        return self

    def outputs(self) -> dict[str, str]:
        """Digest of every output of one run."""
        done = self.ml("run", "examples/digits/digits-softmax.yaml", timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
        manifest = json.loads((self.run_folders()[0] / "run_manifest.json").read_bytes())
        assert manifest["runtime"]["name"] == self.kind
        return {each["name"]: each["sha256"] for each in manifest["outputs"]}


def image_with_lock(folder: Path) -> str:
    """The test image of Python with what the example's lock names, by digest."""
    lock = ROOT / "examples/digits/requirements.lock"
    words = ["-m", "pip", "download", "--quiet", "--require-hashes", "--only-binary=:all:", "-r", str(lock)]
    subprocess.run([sys.executable, *words, "--dest", str(folder)], check=True, capture_output=True, timeout=300)
    recipe = (
        f"FROM {engines.image('PYTHON')}\nCOPY . /wheels\n"
        'RUN python3 -c "import glob, zipfile; '
        "[zipfile.ZipFile(w).extractall('/usr/lib/python3/dist-packages') for w in glob.glob('/wheels/*.whl')]\"\n"
    )
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as archive:
        for wheel in folder.iterdir():
            archive.add(wheel, wheel.name)
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(recipe)
        archive.addfile(entry, io.BytesIO(recipe.encode()))
    return engines.publish("digits", "1", recipe, context=context.getvalue())


@pytest.mark.needs("git", "index", "docker", "podman", "bwrap")
def test_the_same_bytes_on_every_runtime(tmp_path: Path) -> None:
    spec = (ROOT / "examples/digits/digits-softmax.yaml").read_text()
    assert DEPENDENCIES.search(spec)
    (tmp_path / "wheels").mkdir()
    image = image_with_lock(tmp_path / "wheels")
    same_python = spec.replace("  environment:\n", f'  environment:\n    python: "{PYTHON}"\n')
    expected = DigitsWorld(tmp_path / "process").fill(same_python).outputs()
    assert expected
    pinned = DEPENDENCIES.sub(f'    image: "{image}"\n', spec).replace("[python, train.py", "[python3, train.py")
    for kind in ("docker", "podman"):
        world = DigitsWorld(tmp_path / kind)
        world.kind = kind
        assert world.fill(pinned).outputs() == expected
