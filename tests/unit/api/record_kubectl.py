"""Records what kubectl reads, as the fixture of test_kubectl.py: `python -m tests.unit.api.record_kubectl` (needs
kubectl).

`kubectl label --local -o json` parses a file without a cluster and prints what it understood.
"""

import json
import random
import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

FIXTURE = Path(__file__).parent / "kubectl.json"
VALID = Path(__file__).parents[2] / "corpus" / "valid"
_ALPHABET = "0123456789+-._eExXoObBpPnNaAyYtTfFiIzZ:_10"
_WORDS = """
y Y yes Yes YES yEs n N no No NO on On ON oN off Off OFF oFF true True TRUE tRUE false False FALSE null Null NULL nULL ~
inf NaN Infinity +Inf .infinity 0x1F 0X1F 0o17 0O17 0b11 -0b11 +0b1 0b-1 -0x1F +0x1f 010 -010 +010 08 00 -0 +0 0 -0.0
1_000 1__0 _1 1_ +_1 0x_1f 0b_1 0o_7 1e3 1E3 1e+3 1e-3 1e-400 1e400 1234e567 1. .5 -.5 +.5 .. - -- + 1.5.2 1:30 1:30:00
-1:30 2020-01-01 2020-1-1 2020-01-01T10:00:00Z 2020-01-01T10:00:00.5+01:00 1e 1e+ e1 0x 0b 0o 0xg 9007199254740991
9007199254740992 18446744073709551616 -9223372036854775808 1_0.5 1_0e5 ._5 5._ .5_0 0x1p4 0x1.8p1 1p4 1f 0.1f = <<
"""
_NOT_PLAIN = re.compile(r":( |$)|^[-?:]( |$)|^(---|\.\.\.)|^[\[\]{},&*!|>'\"%@`#]|^[-+]?\.(inf|nan)$", re.IGNORECASE)


def _scalars(count: int) -> list[str]:
    chooser = random.Random(20260101)  # noqa: S311  # the same words every time
    made = [word for word in _WORDS.split() if not _NOT_PLAIN.search(word)]
    while len(made) < count:
        word = "".join(chooser.choice(_ALPHABET) for _ in range(chooser.randint(1, 7)))
        if not _NOT_PLAIN.search(word) and word not in made:
            made.append(word)
    return made


def _read(text: bytes) -> Any:
    with tempfile.NamedTemporaryFile(suffix=".yaml") as file:
        file.write(text)
        file.flush()
        command = ["kubectl", "label", "--local", "-f", file.name, "recorded=yes", "-o", "json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["spec"]


def main() -> None:
    """Write the fixture anew."""
    scalars = _scalars(1500)
    head = b"apiVersion: fetchml.dev/v1alpha1\nkind: Experiment\nmetadata: {name: x}\nspec:\n  v:\n"
    values = _read(head + b"".join(f"  - {text}\n".encode() for text in scalars))["v"]
    files = {
        path.name: _read(path.read_bytes()) for path in sorted(VALID.iterdir()) if path.name != "several-documents.yaml"
    }
    version = json.loads(
        subprocess.run(["kubectl", "version", "--client", "-o", "json"], check=True, capture_output=True).stdout
    )
    recorded = {
        "kubectl": version["clientVersion"]["gitVersion"],
        "scalars": list(zip(scalars, values, strict=True)),
        "files": files,
    }
    FIXTURE.write_text(json.dumps(recorded, ensure_ascii=False, separators=(",", ":")).replace("],[", "],\n[") + "\n")


if __name__ == "__main__":
    main()
