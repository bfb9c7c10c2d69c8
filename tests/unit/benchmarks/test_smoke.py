"""Every benchmark runs in a tiny size, its counters hold, and what it says is complete. No time is asserted."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import __main__ as command
from benchmarks import peers, report
from benchmarks.rows import Goal, Row, at_least, at_most, interleaved, spread

COUNTERS = {
    "idle": {"specs parsed": 0, "specs reconciled": 0, "tables changed": 0},
    "idle_and_change": {"specs parsed for one change (most)": 1, "parsed": 0, "reads": 0},
    "git_source": {"specs parsed for one push (most)": 1, "statuses missing": 0},
}
NEEDS = {
    "git_source": ["git"],
    "git_push": ["git"],
    "cli_start": ["git"],
    "save_to_start": ["git"],
    "hashing": ["openssl"],
    "verify": ["git", "userns"],
}


def _cases() -> list[object]:
    return [
        pytest.param(name, marks=[pytest.mark.needs(system) for system in NEEDS.get(name, ())])
        for name in command.found()
    ]


@pytest.mark.parametrize("name", _cases())
def test_a_benchmark_runs_and_its_counters_hold(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    rows = command.found()[name](True)
    assert rows
    for row in rows:
        assert row.ours.rounds > 0
        assert row.ours.low <= row.ours.median <= row.ours.p99 <= row.ours.high
        assert row.unit in report.text(row)
    counted = {what: value for row in rows for what, value in row.counters.items()}
    assert counted == COUNTERS.get(name, {})


def test_the_design_has_a_benchmark_for_each_of_its_rows() -> None:
    assert {"cli_start", "specs_cold", "idle_and_change", "idle", "save_to_start", "durable"} <= command.found().keys()


def _row(met: bool) -> Row:
    return Row(
        "work <1>",
        "ms",
        spread([3.0, 1.0, 2.0]),
        spread([1.0]),
        "spawn",
        peers={"peer & co": spread([8.0])},
        goals=(Goal("p50 <= 2 ms", met, "2 ms"),),
    )


def test_a_lost_goal_is_printed_as_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "OUT", tmp_path)
    monkeypatch.setattr(command, "found", lambda: {"one": lambda _quick: (_row(met=False),)})
    chart = tmp_path / "chart.svg"
    files = ["--json", str(tmp_path / "all.json"), "--chart", str(chart), "--markdown", str(tmp_path / "table.md")]
    assert command.main(["one", *files]) == 0
    printed = capsys.readouterr().out
    assert "LOST   p50 <= 2 ms: 2 ms" in printed
    assert "1 goals, 1 lost" in printed
    assert "ours is 2.00x" in printed
    assert "peer & co, 4.00x ours" in printed
    assert json.loads((tmp_path / "all.json").read_text())["rows"][0]["goals"][0]["met"] is False
    assert "**lost**: p50 <= 2 ms (2 ms) | `make bench NAME=one` |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "one.json").exists()
    assert "work <1> (ms)" in [element.text for element in ET.fromstring(chart.read_text()).iter()]  # noqa: S314  # ours


def test_a_benchmark_that_fails_does_not_hide_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_quick: bool) -> tuple[Row, ...]:
        raise RuntimeError("no disk")

    monkeypatch.setattr(command, "OUT", tmp_path)
    monkeypatch.setattr(command, "found", lambda: {"broken": broken, "one": lambda _quick: (_row(met=True),)})
    assert command.main([]) == 1
    seen = capsys.readouterr()
    assert "met    p50 <= 2 ms" in seen.out
    assert "no disk" in seen.err


def test_an_unknown_name_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["nonsense"])
    assert ended.value.code == 2
    assert "durable" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("values", "median", "p99"), [([5.0], 5.0, 5.0), (range(1, 101), 50.5, 99), (range(1, 32), 16, 31)]
)
def test_spread(values: list[float], median: float, p99: float) -> None:
    found = spread(values)
    assert (found.median, found.p99, found.rounds) == (median, p99, len(values))


def test_goals_are_met_at_their_limit() -> None:
    assert (at_most("x", 2.0, 2.0).met, at_most("x", 2.1, 2.0).met) == (True, False)
    assert (at_least("x", 2.0, 2.0).met, at_least("x", 1.9, 2.0).met) == (True, False)


def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    def contender(name: str) -> float:
        calls.append(name)
        return float(len(calls))

    seen = interleaved({"a": lambda: contender("a"), "b": lambda: contender("b")}, 2)
    assert calls == ["a", "b"] * 3
    assert seen == {"a": [3.0, 5.0], "b": [4.0, 6.0]}


def test_a_peer_that_cannot_be_installed_is_left_out_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "FOLDER", tmp_path)
    (tmp_path / "dvc").mkdir()
    (tmp_path / "dvc" / "failed").write_text("no network")
    assert peers.program("dvc") is None
    assert "peer dvc is left out: no network" in capsys.readouterr().out
