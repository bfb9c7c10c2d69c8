"""`ml info` for a person: what they ask first stands first, and nothing that a run chose steers the terminal."""

from typing import Any

from controller.entrypoints.cli.info_text import info_text

DIGEST = "sha256:" + "d" * 64
GPU = {"uuid": "GPU-1", "model": "a100", "memory": 40 * 2**30, "driver": "550.1"}
HOSTILE = "\x1b[2J\u202e\r\n"


def info(wide: bool = False, target: str = "digits-abcd2345", **changes: Any) -> str:
    manifest = {
        "exit_code": 0, "started_at": "2026-01-02T03:04:05Z", "ended_at": "2026-01-02T04:06:05Z",
        "attempts": [{"number": 1, "reason": "NodeLost", "message": "the host went away"}, {"number": 2}],
        "command": ["python", "train.py", "a b"], "parameters": {"lr": 0.1}, "seed": 7, "commit_id": "c" * 40,
        "source": {"path": "code", "repo": "."}, "deps_manifest": {"manifest": "requirements.lock", "sha256": DIGEST},
        "datasets": [
            {"name": "a", "uri": "file:a", "sha256": DIGEST, "sha256_after": DIGEST, "size": 2048},
            {"name": "b", "uri": "file:b", "sha256": DIGEST, "sha256_after": "sha256:" + "e" * 64, "size": 1},
            {"name": "c", "uri": "file:c", "sha256": DIGEST, "size": 1},
        ],
        "node": {"hostname": "box", "os": "Debian", "cpus": 8, "cpu_model": "Xeon", "memory": 2**34, "gpus": [GPU]},
        "runtime": {
            "name": "process", "interpreter": {"version": "3.11.2", "implementation": "cpython"},
            "sandbox": {"launcher": "bwrap", "network": False},
        },
        "outputs": [{"path": f"o{n}", "sha256": DIGEST, "size": 12} for n in range(30)],
        "logs": {"size": 100, "truncated": True},
    }  # fmt: skip
    caps = [
        {"level": "L1", "reason": "RunSharesKeyOwner", "message": "m"},
        {"level": "L3", "reason": "NotReviewed", "message": "n"},
    ]
    value = {
        "run": "digits-abcd2345", "experiment": "default/digits", "state": "succeeded", "planSha256": DIGEST,
        "result": {"metrics": {"loss": 0.5}, "trust": {"level": "L1", "caps": caps}}, "manifest": manifest,
        "folder": "/records", "events": [{"at": f"t{n}", "reason": "Started", "message": "m"} for n in range(12)],
        "reproduction": {"reproduced": False, "run": "digits-wxyz6723"},
    }  # fmt: skip
    return info_text({**value, **changes}, target, wide=wide)


def rows(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_what_is_asked_first_stands_first() -> None:
    text = info()
    names = [line.split()[0] for line in text.splitlines() if line and not line.startswith(" ")]
    assert names == [
        *("Run", "Experiment", "State", "Exit", "Started", "Attempts"),
        *("Command", "Parameters", "Seed", "Code", "Python", "Packages", "Dataset"),
        *("Host", "GPU", "Runtime", "Metrics", "Outputs", "Log", "Records"),
        *("Trust", "Plan", "Reproduced", "Events", "Next"),
    ]
    assert "Started 2026-01-02T03:04:05Z, took 1 h 2 min" in rows(text)
    assert "Command python train.py 'a b'" in rows(text)
    assert "GPU a100, 40.0 GiB, driver 550.1, GPU-1" in rows(text)
    assert "Reproduced NO, by digits-wxyz6723, as recorded" in rows(text)
    assert "Attempts 1 NodeLost: the host went away" in rows(text)


def test_an_input_that_changed_during_the_run_is_said() -> None:
    found = [line for line in info().splitlines() if "file:" in line]
    assert ["the same after the run" in found[0], "CHANGED" in found[1], "not hashed again" in found[2]] == [True] * 3


def test_long_lists_are_cut_unless_everything_is_asked_for() -> None:
    assert "and 10 more (-o wide)" in info()
    assert info().count("Started: m") == 8
    assert "NotReviewed" not in info()
    wide = info(wide=True)
    assert wide.count("Started: m") == 12
    assert "NotReviewed" in wide
    assert "more (-o wide)" not in wide


def test_a_run_that_goes_on_and_one_that_never_began() -> None:
    text = info(state="active", manifest=None, result={}, reproduction=None)
    assert rows(text)[-2:] == ["Next ml logs -f digits-abcd2345", "ml cancel digits-abcd2345"]
    assert "ml export" not in text
    failed = info(state="failed", result={"reason": "OutOfMemory", "message": "killed"})
    assert "Because OutOfMemory: killed" in rows(failed)
    assert "ml reproduce" not in failed


def test_the_commands_that_follow_name_what_was_named() -> None:
    assert rows(info(target="run.tar"))[-3:] == [
        *("Next ml verify run.tar", "ml compare run.tar ANOTHER", "ml reproduce run.tar")
    ]


def test_nothing_steers_the_terminal() -> None:
    everything = {
        "exit_code": 1, "command": [HOSTILE], "parameters": {"x": HOSTILE}, "commit_id": "c" * 40,
        "source": {"path": HOSTILE, "repo": HOSTILE}, "image": HOSTILE,
        "datasets": [{"name": "d", "uri": HOSTILE, "sha256": DIGEST}],
        "node": {"hostname": HOSTILE, "cpus": 1, "cpu_model": HOSTILE, "gpus": [{**GPU, "model": HOSTILE}]},
        "runtime": {"name": "process", "sandbox": {"launcher": HOSTILE}},
        "outputs": [{"path": HOSTILE, "sha256": DIGEST}], "deps_manifest": {"manifest": HOSTILE},
    }  # fmt: skip
    cap = {"level": "L0", "reason": "RunCanForge", "message": HOSTILE}
    result = {"reason": "X", "message": HOSTILE, "metrics": {HOSTILE: 1}, "trust": {"level": "L0", "caps": [cap]}}
    events = [{"at": "t", "reason": "Started", "message": HOSTILE}]
    text = info(manifest=everything, result=result, events=events, reproduction={"reproduced": True, "run": HOSTILE})
    assert all(line.isprintable() for line in text.split("\n"))
    assert "\N{REPLACEMENT CHARACTER}[2J" in text
