"""`make screenshot`: docs/demo.svg, a picture of what `ml` really prints on a terminal.

Promises: the picture is drawn from commands run just now, on a pseudo-terminal, in a repository of their own; `shape`
reduces a picture to its words without what differs between runs, so that a test can compare two.
Does not: edit what was printed, apart from dropping progress lines that the command itself erased.
"""

import html
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from fcntl import ioctl
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tools.demo import NAME, ROOT, SPEC, Stage

TARGET = ROOT / "docs" / "demo.svg"
COLUMNS = 132
ERASE_LINE = "\r\x1b[K"


def on_terminal(stage: Stage, *command: str) -> str:
    """What a command prints on a terminal, colours included, after the command itself.

    Raises:
        SystemExit: the command failed.
    """
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = {key: value for key, value in stage.environment().items() if key not in {"NO_COLOR", "COLUMNS"}}
    environment["TERM"] = "xterm-256color"
    process = subprocess.Popen(command, cwd=stage.repo, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    printed = _read_all(ours).replace("\r\n", "\n")
    if process.wait():
        sys.exit(f"{' '.join(command)} failed:\n{printed}")
    lines = (line.rpartition(ERASE_LINE)[2] for line in printed.split("\n"))
    return f"\x1b[1m$ {' '.join(command)}\x1b[0m\n" + "\n".join(lines)


def _read_all(descriptor: int) -> str:
    chunks = []
    with open(descriptor, "rb", buffering=0) as stream:
        while True:
            try:
                chunk = stream.read(65536)
            except OSError:  # Linux says EIO when the other side is closed
                break
            if not chunk:
                break
            chunks.append(chunk)
    return b"".join(chunks).decode()


def picture(folder: Path) -> str:
    """An SVG of `ml explain`, `ml run` and `ml verify` on the digits example, run in this folder."""
    stage = Stage(folder)
    stage.fresh_repository()
    for command in (
        ("git", "init", "--quiet", "-b", "main"),
        ("ml", "init", "."),
        ("git", "add", "--all"),
        ("git", "commit", "-qm", "Begin"),
    ):
        subprocess.run(command, cwd=stage.repo, env=stage.environment(), check=True, capture_output=True)
    printed = [on_terminal(stage, "ml", "explain", SPEC), on_terminal(stage, "ml", "run", SPEC)]
    printed.append(on_terminal(stage, "ml", "verify", stage.run_id()))
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi("\n".join(printed)))
    drawn = console.export_svg(title="fetchml", unique_id="demo")
    return re.sub(
        r"@font-face \{.*?\}\n?", "", drawn, flags=re.DOTALL
    )  # fonts from elsewhere: the reader's own will do


def shape(drawn: str) -> list[str]:
    """The words of a picture, line by line, with digests, ids, numbers, times and paths replaced."""
    lines = [
        html.unescape(text).replace("\xa0", " ").strip() for text in re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    ]
    varying = (rf"{NAME}-\w{{8}}", r"(?<=fits on )\S+", r"\S*[0-9]\S*", r"\s+")
    return [_replace(varying, line) for line in lines if line]


def _replace(varying: tuple[str, ...], line: str) -> str:
    for pattern in varying:
        line = re.sub(pattern, " " if pattern == r"\s+" else "#", line)
    return line


if __name__ == "__main__":
    TARGET.write_text(picture(ROOT / "build" / "screenshot"))
