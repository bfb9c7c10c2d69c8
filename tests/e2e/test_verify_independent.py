"""A signed run verifies with tools we did not write, and a tampered one does not: the commands of the how-to page, run.

OpenSSL needs none of our code. securesystemslib runs in an environment where ``cryptography`` is absent, so that its
own pure-Python Ed25519 judges our signatures.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from controller.api.canonical import canonical_bytes
from controller.identity.keys import FileSigner, new_key
from controller.identity.revocations import revoke
from controller.identity.run_folder import run_folder
from controller.identity.trust_folder import read_trust
from controller.trust.verify import verified, verify_run
from tests.fakes.signed_run import signed_run

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "verify-a-run.md"
BLOCKS = re.findall(r"^```(sh|python)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
SHELL = "\n".join(text for language, text in BLOCKS if language == "sh")
(PYTHON,) = [text for language, text in BLOCKS if language == "python"]

Verifier = Callable[[Path], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A folder with trust/ and a run/ that was signed with a key from disk."""
    key = new_key(tmp_path / "data", tmp_path / "trust")
    assert key.private is not None
    for name, data in signed_run(FileSigner(key.private)).items():
        path = tmp_path / "run" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    assert verified(verify_run(run_folder(tmp_path / "run"), read_trust(tmp_path / "trust")))
    return tmp_path


def _environment(repository: Path) -> dict[str, str]:
    return {"RUN": str(repository / "run"), "TRUST": str(repository / "trust"), "PATH": os.environ["PATH"]}


def openssl(repository: Path) -> "subprocess.CompletedProcess[str]":
    """The page's shell commands."""
    command = ["sh", "-c", SHELL]
    return subprocess.run(command, env=_environment(repository), capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def bare_python(request: pytest.FixtureRequest) -> Path:
    """An interpreter with securesystemslib and nothing else; kept between test runs."""
    cache = request.config.cache
    assert cache is not None
    wanted = version("securesystemslib")
    place = Path(cache.mkdir("securesystemslib")) / f"{wanted}-{sys.implementation.cache_tag}"
    if not (place / "ready").exists():
        _build(place, wanted)
    return place / "bin" / "python"


def _build(place: Path, wanted: str) -> None:
    """Beside it first, then a rename: two workers may do this at once."""
    draft = place.with_name(f"{place.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", str(draft)], check=True)
    pip = [str(draft / "bin" / "python"), "-m", "pip", "install", "--quiet", f"securesystemslib=={wanted}"]
    subprocess.run(pip, check=True)
    (draft / "ready").touch()
    try:
        draft.rename(place)
    except OSError:
        assert (place / "ready").exists()
        shutil.rmtree(draft)


def _bare(python: Path, script: str, repository: Path) -> "subprocess.CompletedProcess[str]":
    command = [str(python), "-I", "-c", script]
    return subprocess.run(command, env=_environment(repository), capture_output=True, text=True, check=False)


@pytest.mark.needs("openssl")
def test_openssl_accepts_the_run_and_checks_every_file(repository: Path) -> None:
    done = openssl(repository)
    assert done.returncode == 0, done.stderr
    assert "Signature Verified Successfully" in done.stdout
    names = ["run_manifest.json", "plan.json", "run.log", "results/metrics.jsonl", "results/model.npz"]
    assert [line for line in done.stdout.splitlines() if line.endswith(": OK")] == [
        f"{name}: OK" for name in [*names, "results/plots/loss.svg"]
    ]


@pytest.mark.needs("index")
def test_securesystemslib_accepts_the_run_without_cryptography(repository: Path, bare_python: Path) -> None:
    probe = "import importlib.util as u; print([u.find_spec(n) for n in ('cryptography', 'nacl', 'controller')])"
    assert _bare(bare_python, probe, repository).stdout.strip() == "[None, None, None]"
    done = _bare(bare_python, PYTHON, repository)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "trust level FETCHML_L1"
    assert "ok results/model.npz" in done.stdout


def _edit(repository: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = repository / "run" / "attestation.dsse.json"
    envelope = json.loads(path.read_bytes())
    change(envelope)
    path.write_bytes(canonical_bytes(envelope))


def _flip(repository: Path, name: str) -> None:
    path = repository / "run" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def _payload(envelope: dict[str, Any]) -> None:
    payload = base64.b64decode(envelope["payload"]).replace(b'"seed":7', b'"seed":8')
    envelope["payload"] = base64.b64encode(payload).decode()


def _signature(envelope: dict[str, Any]) -> None:
    signature = bytearray(base64.b64decode(envelope["signatures"][0]["sig"]))
    signature[0] ^= 1
    envelope["signatures"][0]["sig"] = base64.b64encode(signature).decode()


def _another_key(repository: Path) -> None:
    """A valid signature by a key that the repository does not trust."""
    key = new_key(repository / "data")
    assert key.private is not None
    for name, data in signed_run(FileSigner(key.private)).items():
        (repository / "run" / name).write_bytes(data)


def _exchanged_key(repository: Path) -> None:
    """The attacker's public key under the trusted key's name."""
    (trusted,) = (repository / "trust").iterdir()
    other = new_key(repository / "data", repository / "other")
    assert other.public is not None
    other.public.replace(trusted)


def _revoked(repository: Path) -> None:
    (trusted,) = (repository / "trust").iterdir()
    revoke(repository / "trust", trusted.name.removesuffix(".pub.pem"), "lost", "2026-01-02T03:04:05Z")


TAMPER: dict[str, Callable[[Path], object]] = {
    "payload": lambda repository: _edit(repository, _payload),
    "signature": lambda repository: _edit(repository, _signature),
    "payload type": lambda repository: _edit(repository, lambda e: e.update(payloadType="text/plain")),
    "missing signature": lambda repository: _edit(repository, lambda e: e.update(signatures=[])),
    "duplicate signature": lambda repository: _edit(
        repository, lambda e: e["signatures"].append(dict(e["signatures"][0]))
    ),
    "bad base64": lambda repository: _edit(
        repository, lambda e: e["signatures"][0].update(sig="*" + e["signatures"][0]["sig"][1:])
    ),
    "key id": lambda repository: _edit(repository, lambda e: e["signatures"][0].update(keyid="0" * 64)),
    "untrusted key": _another_key,
    "exchanged key": _exchanged_key,
    "revoked key": _revoked,
    "manifest": lambda repository: _flip(repository, "run_manifest.json"),
    "plan": lambda repository: _flip(repository, "plan.json"),
    "log": lambda repository: _flip(repository, "run.log"),
    "metrics": lambda repository: _flip(repository, "results/metrics.jsonl"),
    "output": lambda repository: _flip(repository, "results/model.npz"),
    "missing output": lambda repository: (repository / "run" / "results" / "model.npz").unlink(),
}


@pytest.mark.needs("openssl")
@pytest.mark.parametrize("way", TAMPER)
def test_openssl_refuses_a_tampered_run(repository: Path, way: str) -> None:
    TAMPER[way](repository)
    assert openssl(repository).returncode != 0


@pytest.mark.needs("index")
def test_securesystemslib_refuses_every_tampered_run(repository: Path, bare_python: Path) -> None:
    accepted = []
    for way, tamper in TAMPER.items():
        copy = repository / "copies" / way.replace(" ", "-")
        for part in ("run", "trust"):
            shutil.copytree(repository / part, copy / part)
        tamper(copy)
        if _bare(bare_python, PYTHON, copy).returncode == 0:
            accepted.append(way)
    assert accepted == []
