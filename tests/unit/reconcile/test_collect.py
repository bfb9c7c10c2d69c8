"""What a run left behind, however it tried to fool whoever looks."""

import json
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from controller.reconcile import collect
from controller.reconcile.collect import CHUNK
from tests.unit.reconcile.bench import Bench, experiment

SECRET = "hunter2-canary-value"


def finish(bench: Bench, **spec: object) -> None:
    """Run to the end; the test has prepared nothing but the spec."""
    bench.put(experiment(**spec))  # type: ignore[arg-type]  # spec fields
    bench.settle()


def results(bench: Bench) -> Path:
    return bench.folder() / "results"


def ended(bench: Bench) -> tuple[str, str]:
    bench.end(0)
    bench.settle()
    return bench.phase(), str(bench.condition("Failed").get("reason", ""))


def test_a_required_output_that_is_missing_fails_the_run(bench: Bench) -> None:
    finish(bench, outputs=[{"name": "m", "path": "deep/m.npz"}, {"name": "o", "path": "o", "required": False}])
    assert ended(bench) == ("Failed", "OutputMissing")
    assert "deep/m.npz" in bench.condition("Failed")["message"]


@pytest.mark.parametrize("kind", ["symlink", "dangling", "fifo", "folder", "socket", "linked folder"])
def test_an_output_must_be_a_regular_file_of_its_own(bench: Bench, kind: str, tmp_path: Path) -> None:
    finish(bench, outputs=[{"name": "m", "path": "sub/m"}])
    place = results(bench) / "sub" / "m"
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "m").write_text("not yours")
    if kind != "linked folder":
        place.parent.mkdir()
    if kind == "symlink":
        place.symlink_to(outside / "m")
    elif kind == "dangling":
        place.symlink_to("/nowhere")
    elif kind == "fifo":
        os.mkfifo(place)
    elif kind == "folder":
        place.mkdir()
    elif kind == "socket":
        here = os.getcwd()  # noqa: PTH109  # a socket's path must be short
        os.chdir(place.parent)
        socket.socket(socket.AF_UNIX).bind("m")
        os.chdir(here)
    else:
        (results(bench) / "sub").symlink_to(outside)
    assert ended(bench) == ("Failed", "OutputNotAFile")


def test_an_optional_output_may_be_anything(bench: Bench) -> None:
    finish(bench, outputs=[{"name": "m", "path": "m", "required": False}])
    os.mkfifo(results(bench) / "m")
    assert ended(bench) == ("Succeeded", "")
    assert "outputs" not in bench.status()


def test_a_results_folder_that_became_a_link_is_not_followed(bench: Bench, tmp_path: Path) -> None:
    finish(bench, outputs=[{"name": "m", "path": "m"}])
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "m").write_text("not yours")
    (tmp_path / "elsewhere" / "metrics.jsonl").write_text('{"loss": 1}\n')
    results(bench).rmdir()
    results(bench).symlink_to(tmp_path / "elsewhere")
    assert ended(bench) == ("Failed", "OutputNotAFile")
    assert "metrics" not in bench.status()


def with_secret(bench: Bench) -> None:
    bench.inputs.secrets["wandb"] = SECRET
    bench.put(
        experiment(
            secrets=[{"name": "wandb", "env": "WANDB_API_KEY"}],
            outputs=[{"name": "m", "path": "m"}],
            reproducibility={"minTrustLevel": "L0"},
        )
    )
    bench.settle()


@pytest.mark.parametrize("offset", [0, CHUNK - 5, CHUNK - len(SECRET), CHUNK, 3 * CHUNK - 1])
def test_a_secret_in_an_output_fails_wherever_it_stands(bench: Bench, offset: int) -> None:
    with_secret(bench)
    (results(bench) / "m").write_bytes(b"." * offset + SECRET.encode() + b".")
    assert ended(bench) == ("Failed", "SecretInOutput")


def test_a_secret_in_the_metrics_fails_and_is_shown_nowhere(bench: Bench) -> None:
    with_secret(bench)
    (results(bench) / "m").write_text("fine")
    (results(bench) / "metrics.jsonl").write_text(json.dumps({SECRET: 1}))
    assert ended(bench) == ("Failed", "SecretInOutput")
    assert_nowhere(bench)


def test_a_secret_is_handed_to_the_run_and_stands_nowhere_else(bench: Bench) -> None:
    with_secret(bench)
    attempt = bench.world.specs[bench.attempt_name()]
    assert attempt.secrets == {"WANDB_API_KEY": SECRET}
    assert SECRET not in repr((attempt.argv, attempt.env, attempt.mounts))
    (results(bench) / "m").write_text("fine")
    assert ended(bench) == ("Succeeded", "")
    assert_nowhere(bench)


def assert_nowhere(bench: Bench) -> None:
    looked = 0
    for path in bench.folder().rglob("*"):
        if path.is_file() and path.name != "metrics.jsonl":
            looked += 1
            assert SECRET.encode() not in path.read_bytes(), path
    kept = repr((bench.status(), bench.runs(), bench.store.attempts(bench.runs()[-1].run_id), bench.events.seen))
    assert SECRET not in kept + repr(bench.files)
    assert looked >= 5
    print(f"0 copies of the secret in {looked} files, the store, the spec and the events")


def test_a_secret_that_was_withdrawn_meanwhile_does_not_block_the_end(bench: Bench) -> None:
    with_secret(bench)
    (results(bench) / "m").write_text("fine")
    bench.inputs.secrets.clear()
    assert ended(bench)[0] == "Succeeded"


def test_odd_metrics_are_counted_not_fatal_and_the_spec_stays_valid(bench: Bench) -> None:
    finish(bench)
    lines = [
        b'{"step": 1, "loss": 0.5, "note": "text", "ok": true, "nothing": null}',
        b"not json",
        b"",
        b"[1, 2]",
        b'{"loss": 0.25, "nan": NaN, "inf": 1e999, "huge": 12345678901234567890, "big": 1e17, "neg": -0.0}',
        b'{"": 1, "\\ud800": 2, "new\\nline": 3, "yes": 4, "long' + b"x" * 300 + b'": 5}',
        b"\xff\xfe",
        b"[" * 100_000,
    ]
    (results(bench) / "metrics.jsonl").write_bytes(b"\n".join(lines))
    assert ended(bench) == ("Succeeded", "")
    assert bench.status()["metrics"] == {
        "step": 1, "loss": 0.25, "huge": 12345678901234567000.0, "big": 1e17, "neg": 0.0, "yes": 4,
    }  # fmt: skip
    assert bench.attempt().data["collected"]["bad_metric_lines"] == 4
    bench.source.poll(None)
    assert bench.source.poll(None).invalid == {}
    bench.put(bench.files["a.yaml"].decode().replace("- hi", "- ho"))
    bench.settle()
    assert len(bench.runs()) == 2, "the file with that status is still a spec that can be edited"


def test_the_number_of_metrics_is_bounded(bench: Bench) -> None:
    finish(bench)
    (results(bench) / "metrics.jsonl").write_text(json.dumps({f"m{n}": n for n in range(10_000)}))
    assert ended(bench) == ("Succeeded", "")
    assert len(bench.status()["metrics"]) == 500


def test_a_metrics_file_that_is_a_fifo_or_a_link_is_no_metrics_file(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "other").write_text('{"loss": 1}')
    finish(bench)
    (results(bench) / "metrics.jsonl").symlink_to(tmp_path / "other")
    assert ended(bench) == ("Succeeded", "")
    assert "metrics" not in bench.status()
    bench.put(experiment(seed=2))
    bench.settle()
    os.mkfifo(results(bench) / "metrics.jsonl")
    assert ended(bench) == ("Succeeded", "")


@pytest.mark.parametrize(
    ("path", "required"),
    [("big", True), ("big", False), ("metrics.jsonl", False)],
    ids=["needed", "optional", "metrics"],
)
def test_a_sparse_file_beyond_the_disk_that_was_asked_for_is_refused_unread(
    bench: Bench, path: str, required: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = [] if path == "metrics.jsonl" else [{"name": "big", "path": path, "required": required}]
    finish(bench, outputs=outputs, resources={"disk": "1Mi"})
    with (results(bench) / path).open("wb") as file:
        file.truncate(1 << 43)
    assert (results(bench) / path).stat().st_blocks == 0, "it costs the run nothing"
    monkeypatch.setattr("controller.reconcile.collect._chunks", _at_most(1 << 20))
    assert ended(bench) == ("Failed", "OutputTooLarge")
    assert path in bench.condition("Failed")["message"]


def _at_most(most: int) -> Callable[[BinaryIO], Iterator[bytes]]:
    """Reads a file in chunks, and fails where more than this much of one is read."""

    def chunks(file: BinaryIO) -> Iterator[bytes]:
        read = 0
        while chunk := file.read(CHUNK):
            read += len(chunk)
            assert read <= most, "a worker would be held for hours"
            yield chunk

    return chunks


def test_outputs_share_the_disk_and_one_file_of_many_names_counts_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"m{number}" for number in range(5)]
    finish(bench, outputs=[{"name": name, "path": name} for name in names], resources={"disk": "1Mi"})
    (results(bench) / "m0").write_bytes(b"x" * 700_000)
    for name in names[1:]:
        os.link(results(bench) / "m0", results(bench) / name)
    read: list[str] = []
    real = collect._read

    def count(folder: Path, relative: str, needles: tuple[bytes, ...] = ()) -> collect._Read:
        read.append(relative)
        return real(folder, relative, needles)

    monkeypatch.setattr(collect, "_read", count)
    assert ended(bench) == ("Succeeded", "")
    assert len({entry["sha256"] for entry in bench.status()["outputs"]}) == 1
    assert [name for name in read if name in names] == ["m0"]


def test_two_outputs_that_fit_one_by_one_do_not_fit_together(bench: Bench) -> None:
    finish(bench, outputs=[{"name": name, "path": name} for name in ("a", "b")], resources={"disk": "1Mi"})
    for name in ("a", "b"):
        (results(bench) / name).write_bytes(b"x" * 700_000)
    assert ended(bench) == ("Failed", "OutputTooLarge")
