"""The parts of the container runtime that need no engine."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.ports.runtime import AttemptSpec, Limits, Mount
from controller.runtimes.container import facts, images, launcher, request, state, vault
from controller.runtimes.container.follow import ended_as
from controller.runtimes.container.output import BEGINS, End, Output

FACTS = b"status:NoNewPrivs:\t1\n"
ENDED = b"\nfetchml-launcher ended 3 oom 1 memory 2048 cpu 1500000000\n"


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces."""
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(marks)]


@given(said=st.binary(max_size=400), places=st.lists(st.integers(0, 1000), max_size=12))
def test_the_log_is_the_same_however_the_stream_is_cut(said: bytes, places: list[int]) -> None:
    output = Output([])
    log = b"".join(output.feed(piece) for piece in cut(FACTS + BEGINS + said + ENDED, places)) + output.finish()
    assert (log, output.facts) == (said, FACTS)
    assert output.end == End(3, 1, {"max_rss": 2048, "cpu_seconds": 1.5})


def test_only_the_last_line_is_the_launchers() -> None:
    output = Output([])
    forged = ENDED.replace(b"ended 3", b"ended 0")
    log = output.feed(FACTS + BEGINS + forged + ENDED) + output.finish()
    assert (log, output.end and output.end.exit_code) == (forged, 3)


def test_facts_that_a_program_prints_are_its_output() -> None:
    output = Output([])
    log = output.feed(FACTS + BEGINS + b"status:NoNewPrivs:\t0\n" + BEGINS) + output.finish()
    assert output.facts == FACTS
    assert log == b"status:NoNewPrivs:\t0\n" + BEGINS
    assert output.end is None, "killed from outside: nobody wrote how it ended"


def test_a_secret_that_comes_in_pieces_is_redacted() -> None:
    output = Output([b"canary"])
    log = b"".join(output.feed(bytes([byte])) for byte in FACTS + BEGINS + b"a canary sings") + output.finish()
    assert log == b"a [redacted] sings"


KILLED = {"ExitCode": 137, "OOMKilled": False}
STOP = {"reason": "DeadlineExceeded", "message": "too long"}


@pytest.mark.parametrize(
    ("state", "end", "asked", "expected"),
    [
        ({"ExitCode": 3}, End(3, 0, {}), None, (3, "")),
        (KILLED | {"OOMKilled": True}, None, None, (137, "OutOfMemory")),
        (KILLED, End(137, 1, {}), None, (137, "OutOfMemory")),
        (KILLED, End(137, 0, {}), None, (137, "")),
        ({"ExitCode": 0}, End(0, 1, {}), None, (0, "")),
        (KILLED, None, None, (None, "RuntimeLost")),
        (KILLED, None, STOP, (137, "DeadlineExceeded")),
    ],
)
def test_how_an_end_is_told(
    state: dict[str, object], end: End | None, asked: dict[str, object] | None, expected: tuple[object, str]
) -> None:
    assert ended_as(state, end, asked)[:2] == expected


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("busybox", "busybox"),
        ("busybox:1", "busybox"),
        ("host:5000/team/x:1.2", "host:5000/team/x"),
        ("host:5000/team/x@sha256:ab", "host:5000/team/x"),
        ("host:5000/team/x:1@sha256:ab", "host:5000/team/x"),
    ],
)
def test_the_name_of_an_image(reference: str, name: str) -> None:
    assert images.repository(reference) == name


def attempt(folder: Path) -> AttemptSpec:
    """One with a dataset and a secret."""
    return AttemptSpec(
        name="fetchml-x-aaaaaaaa-1",
        run_id="x-aaaaaaaa",
        number=1,
        store_id="store",
        plan_sha256="sha256:" + "ab" * 32,
        run_dir=folder,
        argv=("train", "$(data.numbers)"),
        env={"OUT": "$(results)"},
        workspace=None,
        results=folder / "results",
        checkpoints=None,
        log=folder / "run.log",
        environment=None,
        interpreter_prefix=None,
        mounts=(Mount(folder / "numbers", "/data/numbers"),),
        limits=Limits(cpu=0.5, memory=64 << 20, disk=1 << 20),
        secrets={"KEY": "canary"},
        mount_names={"numbers": "/data/numbers"},
        image="x@sha256:" + "0" * 64,
    )


def asked(folder: Path, **changes: object) -> dict[str, object]:
    """The request for it."""
    kit = launcher.Kit(folder / "kit", ("/fetchml/launcher/sh",), "sha256:0")
    place = request.Place("docker", "65532:65532", False, kit, "{}", 4096, secrets=folder / "secrets")  # a value
    return request.body(replace(attempt(folder), **changes), place)  # type: ignore[arg-type]  # fields by name


def test_a_request_has_every_guard_and_no_secret(tmp_path: Path) -> None:
    body = asked(tmp_path)
    host = body["HostConfig"]
    assert isinstance(host, dict)
    assert (host["NetworkMode"], host["ReadonlyRootfs"], host["CapDrop"], host["IpcMode"]) == (
        "none",
        True,
        ["ALL"],
        "private",
    )
    assert host["SecurityOpt"] == ["no-new-privileges", "seccomp={}"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
        64 << 20,
        64 << 20,
        500_000_000,
        1024,
    )
    assert not {"Privileged", "Devices", "Binds", "PidMode", "CapAdd", "VolumesFrom"} & set(host)
    writable = [mount["Target"] for mount in host["Mounts"] if not mount["ReadOnly"]]
    assert writable == ["/results"]
    assert body["Cmd"] == ["train", "/data/numbers"]
    assert "canary" not in str(body)
    assert "NVIDIA_VISIBLE_DEVICES=void" in str(body["Env"])


def test_exactly_the_gpus_that_were_given_are_asked_for(tmp_path: Path) -> None:
    body = asked(tmp_path, gpus=("GPU-1", "GPU-2"))
    assert body["HostConfig"]["DeviceRequests"] == [  # type: ignore[index]  # plain JSON
        {"Driver": "nvidia", "DeviceIDs": ["GPU-1", "GPU-2"], "Capabilities": [["gpu"]]}
    ]


def test_secrets_lie_in_memory_until_they_are_forgotten(tmp_path: Path) -> None:
    one = replace(attempt(tmp_path), secrets={"KEY": "it's\ntwo lines"})
    vault.fill(one)
    try:
        assert vault.values(one.name, ["KEY"]) == [b"it's\ntwo lines"]
        assert vault.environment_file(one.name).read_text() == "KEY='it'\\''s\ntwo lines'\nexport KEY\n"
        assert vault.environment_file(one.name).parent.stat().st_mode & 0o077 == 0
    finally:
        vault.empty(one.name)
    assert vault.values(one.name, ["KEY"]) is None
    assert vault.values(one.name, []) == []


V2 = b"cgroup/memory.max:1048576\ncgroup/pids.max:64\ncgroup/cpu.max:50000 100000\n"
V1 = (
    b"cgroup/memory/memory.limit_in_bytes:1048576\ncgroup/pids/pids.max:64\n"
    b"cgroup/cpu/cpu.cfs_quota_us:50000\ncgroup/cpu/cpu.cfs_period_us:100000\n"
)


@pytest.mark.parametrize("text", [V1, V2])
def test_limits_are_read_from_both_versions_of_cgroups(text: bytes) -> None:
    found = facts.sandbox(text, {"limits": {}})["limits"]
    assert {name: each["value"] for name, each in found.items()} == {"memory": 1 << 20, "processes": 64, "cpu": 0.5}


@pytest.mark.parametrize(
    "text", [V2.replace(b"1048576", b"max").replace(b"64", b"max").replace(b"50000 ", b"max "), b""]
)
def test_a_limit_that_is_not_there_is_not_listed(text: bytes) -> None:
    assert facts.sandbox(text, {"limits": {}})["limits"] == {}


def test_the_user_outside_follows_from_the_map() -> None:
    assert facts.outer(1000, [[0, 300000, 65536]]) == 301000
    assert facts.outer(1000, [[0, 1000, 1], [1, 100000, 65536]]) == 100999
    assert facts.outer(70000, [[0, 300000, 65536]]) is None


def test_a_run_never_ends_before_it_starts() -> None:
    """Docker stamps the start once the program is on its way, and the end of one that is quick may come before."""
    early, late, now = "2026-01-01T00:00:00.256Z", "2026-01-01T00:00:00.257Z", "2026-01-01T00:00:09.000Z"
    assert state.end_of("2026-01-01T00:00:00.256123Z", late, now) == late
    assert state.end_of("2026-01-01T00:00:00.257Z", early, now) == late
    assert state.end_of("0001-01-01T00:00:00Z", early, now) == now
    assert state.end_of("2026-01-01T00:00:00.256Z", "", now) == early
