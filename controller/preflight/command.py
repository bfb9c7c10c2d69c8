"""The command is a program with its arguments, every form in it has a value, and the paths it names will exist.

Reasons (all Refuse): ShellLine, EmptyCommand, InvalidArgument, UnknownSubstitution, NeedsMountNamespace.
"""

import difflib
import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

from controller.preflight.model import Context, Finding, Rule, UnresolvedLike

RULE = Rule("command")

_OPERATORS = frozenset({"&&", "||", "2>&1"})
_FORMS = {"/workspace": "$(workspace)", "/results": "$(results)", "/checkpoints": "$(checkpoints)"}


def check(context: Context) -> Iterator[Finding]:
    """Every objection to the command, the environment's values and the paths they name."""
    objections = (*_program(context), *_arguments(context), *map(_unknown, context.plan.unresolved), *_places(context))
    yield from objections or (RULE.passed(f"{len(context.spec.command)} argument(s), no shell"),)


def _program(context: Context) -> Iterator[Finding]:
    command = context.spec.command
    words = command[0].split()
    if not words:
        yield RULE.refuse(
            "EmptyCommand", "the program's name is empty", "spec.command[0]", "write the program, such as python"
        )
    elif len(words) > 1 and (len(command) == 1 or "/" not in words[0]):
        message = f"{command[0]!r} is a shell line, not a program"
        yield RULE.refuse("ShellLine", message, "spec.command[0]", f"write [{', '.join(_words(command[0]))}]")
    for index, argument in enumerate(command[1:], start=1):
        if argument in _OPERATORS:
            message = f"{argument!r} would be an ordinary argument: no shell reads this command"
            line = " ".join(command)
            yield RULE.refuse("ShellLine", message, f"spec.command[{index}]", f"write [sh, -c, {json.dumps(line)}]")


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # an open quote: plain words still show what is meant
        return line.split()


def _arguments(context: Context) -> Iterator[Finding]:
    for field, text in _texts(context):
        if "\0" in text:
            yield RULE.refuse("InvalidArgument", "a NUL character cannot be passed to a program", field, "remove it")


def _unknown(unresolved: UnresolvedLike) -> Finding:
    close = difflib.get_close_matches(unresolved.form, unresolved.known, n=1)
    offer = f"$({close[0]})" if close else "one of " + ", ".join(f"$({name})" for name in unresolved.known)
    message = f"$({unresolved.form}) has no value here"
    fix = f"write {offer}, or $$({unresolved.form}) for the text itself"
    return RULE.refuse("UnknownSubstitution", message, unresolved.field, fix)


def _texts(context: Context) -> Iterator[tuple[str, str]]:
    content = context.plan.content
    yield from ((f"spec.command[{index}]", text) for index, text in enumerate(content["command"]))
    yield from ((f"spec.env.{name}", text) for name, text in content["env"].items())


def _places(context: Context) -> Iterator[Finding]:
    if context.runtime != "process" or context.facts.host.sandbox.mount_namespace:
        return
    why = context.facts.host.sandbox.why or "this host gives no mount namespace"
    forms = _FORMS | {f"{item['mountPath']}": f"$(data.{item['name']})" for item in context.plan.content["datasets"]}
    parameters = (
        (f"spec.parameters.{name}", text) for name, value in context.spec.parameters.items() for text in _strings(value)
    )
    for field, text in (*_texts(context), *parameters):
        for path, form in forms.items():
            if re.search(rf"(?<![\w.)/-]){re.escape(path)}(?![\w.-])", text):
                yield _needs_namespace(field, path, form, why)
    for index, dataset in enumerate(context.spec.datasets):
        if dataset.mount_path is not None:
            yield _needs_namespace(
                f"spec.datasets[{index}].mountPath", dataset.mount_path, f"$(data.{dataset.name})", why
            )


def _needs_namespace(field: str, path: str, form: str, why: str) -> Finding:
    message = f"{path} does not exist during the run: {why}"
    return RULE.refuse("NeedsMountNamespace", message, field, f"write {form}, which works everywhere")


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
