"""Isolation counts only where it was observed; a fact that is absent, odd or only polled does not."""

from typing import Any

import pytest

from controller.runtimes.container.facts import sandbox
from controller.trust.sandbox import hides_keys, isolation_gaps, outer_uid
from tests.fakes.signed_run import SANDBOX

ISOLATED: dict[str, Any] = SANDBOX | {"outer_uid": 5000}


def test_full_isolation_has_no_gaps() -> None:
    assert isolation_gaps(ISOLATED, reconciler_uid=1000) == ()


def test_nothing_observed_shows_nothing() -> None:
    assert len(isolation_gaps({}, reconciler_uid=1000)) == 9
    assert not hides_keys({})


CONTAINER = b"""\
/proc/self/status:Uid:\t65532\t65532\t65532\t65532
/proc/self/status:CapInh:\t0000000000000000
/proc/self/status:CapPrm:\t0000000000000000
/proc/self/status:CapEff:\t0000000000000000
/proc/self/status:CapBnd:\t0000000000000000
/proc/self/status:CapAmb:\t0000000000000000
/proc/self/status:NoNewPrivs:\t1
/proc/self/status:Seccomp:\t2
/proc/self/uid_map:         0     231072      65536
/proc/self/net/dev:Inter-|   Receive                                                |  Transmit
/proc/self/net/dev:    lo:       0       0    0    0    0     0          0         0        0       0    0    0
/proc/self/mountinfo:1 0 0:1 / / ro,relatime - overlay overlay rw
cgroup/memory.max:67108864
cgroup/pids.max:64
cgroup/cpu.max:100000 100000
"""
"""What the launcher of a container reads, as procfacts.parse takes it."""


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (b"", b"", ""),
        (b"NoNewPrivs:\t1", b"NoNewPrivs:\t0", "privileges"),
        (b"CapEff:\t0000000000000000", b"CapEff:\t00000000a80425fb", "capabilities"),
        (b"Seccomp:\t2", b"Seccomp:\t0", "seccomp"),
        (b"    lo:", b"  eth0:", "interfaces"),
        (b"/ / ro,", b"/ / rw,", "root is writable"),
        (b"cgroup/pids.max:64", b"cgroup/pids.max:max", "pids"),
        (b"cgroup/cpu.max:100000", b"cgroup/cpu.max:max", "cpu"),
        (b"0     231072", b"0      0     ", "outer user id"),
    ],
)
def test_the_facts_of_a_container_are_read_as_its_runtime_writes_them(old: bytes, new: bytes, words: str) -> None:
    outside = {"fresh": True, "limits": {"disk": {"value": 1, "enforcer": "reconciler (polled)"}}}
    text = CONTAINER.replace(old, new) if old else CONTAINER
    text = text.replace(b"Uid:\t65532", b"Uid:\t0") if words == "outer user id" else text
    gaps = isolation_gaps(sandbox(text, outside), reconciler_uid=1000)
    assert (not gaps) if not words else (len(gaps) == 1 and words in gaps[0]), gaps


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cap_eff": "0000000000000001"}, "capabilities"),
        ({"cap_prm": "000001ffffffffff"}, "capabilities"),
        ({"cap_amb": "0000000000000400"}, "capabilities"),
        ({"cap_eff": ""}, "capabilities"),
        ({"cap_eff": "none"}, "capabilities"),
        ({"no_new_privs": False}, "privileges"),
        ({"no_new_privs": None}, "privileges"),
        ({"seccomp": False}, "seccomp"),
        ({"seccomp": 1}, "seccomp"),
        ({"outer_uid": 0}, "outer user id"),
        ({"outer_uid": 1000}, "outer user id"),
        ({"outer_uid": None}, "outer user id"),
        ({"interfaces": ["eth0", "lo"]}, "interfaces"),
        ({"interfaces": "lo"}, "interfaces"),
        ({"root_read_only": False}, "root is writable"),
        ({"root_read_only": "yes"}, "root is writable"),
        ({"limits": None}, "memory limit"),
        ({"engine_socket": True}, "engine socket"),
    ],
)
def test_each_gap_is_named(change: dict[str, Any], words: str) -> None:
    assert any(words in gap for gap in isolation_gaps(ISOLATED | change, reconciler_uid=1000))


@pytest.mark.parametrize(
    ("limit", "finite"),
    [
        ({"value": 1024, "enforcer": "rlimit"}, True),
        ({"value": "1024", "enforcer": "rlimit, supervisor (polled)"}, True),
        ({"value": 0.5, "enforcer": "cgroup"}, True),
        ({"value": "0-3,8", "enforcer": "affinity"}, True),
        ({"value": 1024, "enforcer": "supervisor (polled)"}, False),
        ({"value": 1024, "enforcer": "reconciler (polled)"}, False),
        ({"value": 1024, "enforcer": "none"}, False),
        ({"value": 1024}, False),
        ({"value": "unlimited", "enforcer": "rlimit"}, False),
        ({"value": float("inf"), "enforcer": "cgroup"}, False),
        ({"value": 0, "enforcer": "rlimit"}, False),
        ({"value": None, "enforcer": "rlimit"}, False),
        (1024, False),
    ],
)
def test_a_limit_counts_when_the_kernel_enforces_it(limit: Any, finite: bool) -> None:
    gaps = isolation_gaps(ISOLATED | {"limits": SANDBOX["limits"] | {"memory": limit}}, reconciler_uid=1000)
    assert ("no finite memory limit is enforced by the kernel" not in gaps) is finite


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"outer_uid": 1000, "uid_map": [["0", "5", "1"]]}, 1000),
        ({"outer_uid": "1000"}, 1000),
        ({"outer_uid": "x"}, None),
        ({"uid_map": [["0", "1000", "1"]]}, 1000),
        ({"uid_map": "         0       1000          1\n"}, 1000),
        ({"uid_map": ["0 1000 1"]}, 1000),
        ({"uid_map": [["0", "0", "4294967295"]]}, None),
        ({"uid_map": [["0", "1000", "1"], ["1", "100000", "65536"]]}, None),
        ({"uid_map": [["0", "x", "1"]]}, None),
        ({"uid_map": [7]}, None),
        ({"uid_map": []}, None),
        ({}, None),
    ],
)
def test_the_outer_user_id_is_read_or_unknown(facts: dict[str, Any], expected: int | None) -> None:
    assert outer_uid(facts) == expected


@pytest.mark.parametrize(("launcher", "hidden"), [("bwrap", True), ("unshare", True), ("none", False), (None, False)])
def test_keys_are_hidden_by_a_root_of_its_own_only(launcher: str | None, hidden: bool) -> None:
    assert hides_keys({"launcher": launcher, "root_read_only": True}) is hidden
    assert not hides_keys({"launcher": launcher, "root_read_only": False})
