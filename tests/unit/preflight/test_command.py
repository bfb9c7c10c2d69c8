"""The command rule."""

from dataclasses import replace

import pytest

from controller.facts.facts import SandboxFacts
from controller.preflight import command
from tests.builders import experiment, facts, full_experiment, host, sha
from tests.unit.preflight.judging import PASS, REFUSE, judged

NO_NAMESPACE = SandboxFacts(
    "none", mount_namespace=False, network_namespace=False, seccomp=False, why="user namespaces are disabled"
)


def test_a_plain_command_passes():
    assert judged(command, full_experiment()) == [(PASS, "8 argument(s), no shell")]


@pytest.mark.parametrize(
    ("argv", "index", "fix"),
    [
        (["python train.py --lr 1"], 0, "write [python, train.py, --lr, 1]"),
        (["/usr/bin/python train.py"], 0, "write [/usr/bin/python, train.py]"),
        (["python 'a b'"], 0, "write [python, a b]"),
        (["python 'open"], 0, "write [python, 'open]"),
        (["python train.py", "--lr"], 0, "write [python, train.py]"),
        (["cd", "x", "&&", "make"], 2, 'write [sh, -c, "cd x && make"]'),
        (["a", "2>&1"], 1, 'write [sh, -c, "a 2>&1"]'),
    ],
)
def test_shell_lines_are_refused_with_what_to_write(argv, index, fix):
    [(verdict, reason, _, field, offered)] = judged(command, experiment(command=argv))
    assert (verdict, reason, field, offered) == (REFUSE, "ShellLine", f"spec.command[{index}]", fix)


@pytest.mark.parametrize(
    "argv", [["sh", "-c", "a && b | c"], ["./my tool", "x"], ["python", "a b"], ["find", ".", ";"]]
)
def test_what_only_looks_like_a_shell_line_passes(argv):
    assert judged(command, experiment(command=argv))[0][0] is PASS


def test_an_empty_program():
    assert judged(command, experiment(command=[" ", "x"])) == [
        (
            REFUSE,
            "EmptyCommand",
            "the program's name is empty",
            "spec.command[0]",
            "write the program, such as python",
        )
    ]


def test_nul_cannot_be_passed():
    spec = experiment(command=["a", "b\0"], env={"X": "\0"})
    assert [(row[1], row[3]) for row in judged(command, spec)] == [
        ("InvalidArgument", "spec.command[1]"),
        ("InvalidArgument", "spec.env.X"),
    ]


@pytest.mark.parametrize(
    ("text", "form", "fix"),
    [
        ("$(params.rl)", "params.rl", "write $(params.lr), or $$(params.rl) for the text itself"),
        ("$(sed)", "sed", "write $(seed), or $$(sed) for the text itself"),
        ("$(result)/x", "result", "write $(results), or $$(result) for the text itself"),
        ("$(data.digit)", "data.digit", "write $(data.digits), or $$(data.digit) for the text itself"),
        (
            "$(date)",
            "date",
            "write one of $(data.digits), $(params.lr), $(results), $(seed), or $$(date) for the text itself",
        ),
        ("$(checkpoints)", "checkpoints", None),
        ("$(workspace)", "workspace", None),
        ("x$(open", "open", None),
    ],
)
def test_a_form_without_value_is_refused_with_a_guess(text, form, fix):
    spec = experiment(
        command=["a", text],
        parameters={"lr": 1},
        seed=1,
        datasets=[{"name": "digits", "uri": "file:d", "sha256": sha("e")}],
    )
    [(verdict, reason, message, field, offered)] = judged(command, spec)
    assert (verdict, reason, message) == (REFUSE, "UnknownSubstitution", f"$({form}) has no value here")
    assert field == "spec.command[1]"
    assert fix is None or offered == fix


def test_forms_in_the_environment_are_judged_too():
    found = judged(command, experiment(command=["a"], env={"OUT": "$(reslts)"}))
    assert [(row[1], row[3]) for row in found] == [("UnknownSubstitution", "spec.env.OUT")]


def test_escaped_forms_are_text():
    assert judged(command, experiment(command=["sh", "-c", "echo $$(date)"]))[0][0] is PASS


@pytest.mark.parametrize(
    ("spec", "field", "form"),
    [
        ({"command": ["a", "/results/x"]}, "spec.command[1]", "$(results)"),
        ({"command": ["a", "--out=/results"]}, "spec.command[1]", "$(results)"),
        ({"command": ["sh", "-c", "cat '/workspace/a'"]}, "spec.command[2]", "$(workspace)"),
        ({"env": {"D": "/data/digits"}}, "spec.env.D", "$(data.digits)"),
        ({"parameters": {"c": {"d": ["/checkpoints/last"]}}}, "spec.parameters.c", "$(checkpoints)"),
        ({"command": ["a", "$(params.p)"], "parameters": {"p": 1, "q": "/results"}}, "spec.parameters.q", "$(results)"),
    ],
)
def test_literal_places_need_a_mount_namespace(spec, field, form):
    spec = experiment(**{"datasets": [{"name": "digits", "uri": "file:d", "sha256": sha("e")}], **spec})
    assert judged(command, spec, facts(spec))[0][0] is PASS, "where there is a mount namespace they work"
    elsewhere = facts(spec, host=host(sandbox=NO_NAMESPACE))
    assert judged(command, spec, elsewhere, runtime="docker")[0][0] is PASS, "a container has its own mounts"
    [found] = judged(command, spec, facts(spec, host=host(sandbox=NO_NAMESPACE)))
    assert found[:2] == (REFUSE, "NeedsMountNamespace")
    assert found[2].endswith("does not exist during the run: user namespaces are disabled")
    assert found[3:] == (field, f"write {form}, which works everywhere")


@pytest.mark.parametrize(
    "text",
    [
        "$(results)/results",
        "my/results",
        "/home/results",
        "../workspace",
        "/workspaces",
        "/results-old",
        "/data/digits2",
    ],
)
def test_other_paths_need_none(text):
    spec = experiment(command=["a", text], datasets=[{"name": "digits", "uri": "file:d", "sha256": sha("e")}])
    assert judged(command, spec, facts(spec, host=host(sandbox=NO_NAMESPACE)))[0][0] is PASS


def test_a_host_that_gives_no_reason_has_one_all_the_same():
    seen = facts(host=host(sandbox=replace(NO_NAMESPACE, why="")))
    [(_, _, message, *_)] = judged(command, experiment(command=["a", "/results"]), seen)
    assert message == "/results does not exist during the run: this host gives no mount namespace"


def test_a_stated_mount_path_needs_a_mount_namespace():
    spec = experiment(datasets=[{"name": "d", "uri": "file:d", "sha256": sha("e"), "mountPath": "/data/x"}])
    found = judged(command, spec, facts(spec, host=host(sandbox=NO_NAMESPACE)))
    assert [(row[1], row[3], row[4]) for row in found] == [
        ("NeedsMountNamespace", "spec.datasets[0].mountPath", "write $(data.d), which works everywhere")
    ]
