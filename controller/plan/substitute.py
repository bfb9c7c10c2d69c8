"""The ``$(...)`` forms of a command line and of environment values, in two stages.

Promises: one grammar for both stages, and no value that can smuggle a form into the next stage.

Grammar: a run of n dollars directly before ``(`` stands for n // 2 literal dollars; then, if n is even, a literal
``(``, and if n is odd, a form that ends at the next ``)``. So ``$(seed)`` is a form, ``$$(seed)`` the text
``$(seed)``, and dollars elsewhere are ordinary characters (Kubernetes and make read the same text the same way).

Stage 1, `expand_params` (at planning): ``$(params.NAME)`` and ``$(seed)`` are replaced; everything else keeps its
meaning and stays escaped, so the plan's text holds only ``$(workspace)``, ``$(results)``, ``$(checkpoints)``,
``$(data.NAME)`` and escapes. Stage 2, `expand_places` (the runtime, at launch): those four are replaced and the
escapes removed; nothing is left to expand.

Does not: know which places exist, or run a shell.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from controller.api.canonical import canonical_bytes, number_text

_OPENING = re.compile(r"(\$+)\(")
_DOLLARS_AT_END = re.compile(r"\$+\Z")


class SubstitutionError(LookupError):
    """A form that has no value here; `form` is its name, without ``$(`` and ``)``."""

    def __init__(self, form: str, message: str) -> None:
        self.form = form
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Form:
    """One ``$(name)``."""

    name: str


Token = str | Form


def parse(text: str) -> tuple[Token, ...]:
    """Literal texts (unescaped) and forms, in order.

    An opening ``$(`` without ``)`` gives a form with the rest of the text as its name, which no stage knows.
    """
    if "$(" not in text:
        return (text,) if text else ()
    tokens: list[Token] = []
    at = 0
    while (match := _OPENING.search(text, at)) is not None:
        dollars = len(match[1])
        tokens.append(text[at : match.start()] + "$" * (dollars // 2) + ("" if dollars % 2 else "("))
        at = match.end()
        if dollars % 2:
            end = text.find(")", at)
            tokens.append(Form(text[at:] if end < 0 else text[at:end]))
            at = len(text) if end < 0 else end + 1
    tokens.append(text[at:])
    return tuple(token for token in tokens if token != "")


def render(tokens: Iterable[Token]) -> str:
    """The text that `parse` reads as these tokens (neighbouring literals joined)."""
    out: list[str] = []
    literal = ""
    for token in tokens:
        if isinstance(token, str):
            literal += token
        else:
            out.append(_DOLLARS_AT_END.sub(_doubled, _escaped(literal)) + f"$({token.name})")
            literal = ""
    return "".join(out) + _escaped(literal)


def _escaped(literal: str) -> str:
    return _OPENING.sub(lambda match: match[1] * 2 + "(", literal)


def _doubled(match: re.Match[str]) -> str:
    return match[0] * 2


def forms(text: str) -> tuple[str, ...]:
    """The names of all forms in the text, in order."""
    return tuple(token.name for token in parse(text) if isinstance(token, Form))


def value_text(value: Any) -> str:
    """A parameter as text: a string as it is, a number as RFC 8785 writes it, anything else as RFC 8785 JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number_text(value)
    return canonical_bytes(value).decode()


def expand_params(text: str, params: Mapping[str, Any], seed: int | None) -> str:
    """Stage 1.

    A form that stage 1 does not know is left as it is (preflight refuses what stage 2 would not know either).
    """
    if "$(" not in text:  # most arguments
        return text
    values = {f"params.{name}": value for name, value in params.items()}
    if seed is not None:
        values["seed"] = seed
    tokens = parse(text)
    if not any(isinstance(token, Form) and token.name in values for token in tokens):
        return text
    return render(value_text(values[t.name]) if isinstance(t, Form) and t.name in values else t for t in tokens)


def expand_places(text: str, places: Mapping[str, str]) -> str:
    """Stage 2: the final text. `places` maps ``workspace``, ``results``, ``checkpoints`` and ``data.NAME`` to paths.

    Raises:
        SubstitutionError: a form that `places` does not hold.
    """
    return "".join(token if isinstance(token, str) else _place(token.name, places) for token in parse(text))


def _place(name: str, places: Mapping[str, str]) -> str:
    if name not in places:
        raise SubstitutionError(name, f"$({name}) has no value here; known are {', '.join(sorted(places)) or 'none'}")
    return places[name]
