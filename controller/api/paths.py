"""Field paths such as `spec.datasets[0].sha256`, and the places in a node tree that they name.

Promises: one spelling for every message: names joined by dots, list positions in brackets, and in brackets too a key
that is no plain word (`metadata.annotations[fetchml.dev/rerun]`). Does not: validate anything.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from yaml.nodes import MappingNode, Node, SequenceNode

Step = str | int
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def spell(steps: Sequence[Step]) -> str:
    """The text of a path; empty for the document itself."""
    text = ""
    for step in steps:
        if isinstance(step, str) and _PLAIN.fullmatch(step):
            text += f".{step}" if text else step
        else:
            text += f"[{step}]"
    return text


class Place(NamedTuple):
    """The nodes at the end of a path, or at the nearest ancestor that exists."""

    key: Node | None
    """The key that leads to the value; None for list items and the root."""
    value: Node
    found: bool

    @property
    def heading(self) -> Node:
        """The key where there is one: what to point at when something inside is missing."""
        return self.key or self.value


def _children(node: Node) -> Iterator[tuple[Step, Node | None, Node]]:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            if isinstance(key.value, str):
                yield key.value, key, value
    elif isinstance(node, SequenceNode):
        for index, item in enumerate(node.value):
            yield index, None, item


def locate(root: Node, steps: Sequence[Step]) -> Place:
    """The place of a path given as steps."""
    place = Place(None, root, found=True)
    for step in steps:
        for name, key, value in _children(place.value):
            if name == step:
                place = Place(key, value, found=True)
                break
        else:
            return place._replace(found=False)
    return place


def _after(rest: str, name: Step) -> str | None:
    """What is left of a path text once this step is taken; None when it does not begin with it."""
    for spelled in (f"[{name}]", f".{name}", str(name)):
        if rest.startswith(spelled) and rest[len(spelled) : len(spelled) + 1] in {"", ".", "["}:
            return rest[len(spelled) :]
    return None


def follow(root: Node, path: str) -> Place:
    """The place of a path given as text; keys that contain dots are found too."""
    place = Place(None, root, found=True)
    while path:
        steps = [
            (rest, key, value)
            for name, key, value in _children(place.value)
            if (rest := _after(path, name)) is not None
        ]
        if not steps:
            return place._replace(found=False)
        path, key, value = min(steps, key=lambda step: len(step[0]))
        place = Place(key, value, found=True)
    return place


def spelled_nodes(root: Node) -> dict[int, str]:
    """id of each key and value node -> its path (the first one, for a node that aliases repeat)."""
    found = {id(root): ""}
    stack: list[tuple[Node, tuple[Step, ...]]] = [(root, ())]
    while stack:
        node, steps = stack.pop()
        for name, key, value in _children(node):
            path = (*steps, name)
            if key is not None:
                found.setdefault(id(key), spell(path))
            if id(value) not in found:
                found[id(value)] = spell(path)
                stack.append((value, path))
    return found
