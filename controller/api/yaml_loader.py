"""From bytes to plain values, strictly: the only place that parses YAML.

Promises: refuses, with a position and before anything is constructed, what two readers could read differently or what
could harm the reader: encodings other than UTF-8, control characters, directives, tags, merge keys, duplicate keys,
ambiguous scalars, alias bombs, deep nesting, huge documents. All faults of a document at once (a document that is no
YAML at all has one). Does not: know any kind or field.

The composer of PyYAML (C) is recursive, so nesting is bounded before it runs.
"""

import operator
from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import yaml
from yaml._yaml import CParser
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from controller.api.problems import Position
from controller.api.scalars import FIRST_CHARACTERS, BadScalar, resolve_cached
from controller.api.segments import HIDDEN, MAX_DOCUMENT, Fault, Segment, find_directive
from controller.api.syntax import explain

MAX_DEPTH = 100
MAX_ALIAS_NODES = 1000
MAX_FAULTS = 100
"""Faults reported for one document; what follows is noise."""


class Tree(NamedTuple):
    """One parsed document."""

    root: Node | None
    value: Any
    faults: tuple[Fault, ...]


class _Composer(CParser):
    """PyYAML's C composer without tag resolution: a node's tag is None unless the text has an explicit one.

    The three hooks are called once for each node; the built-in functions only save time.
    """

    descend_resolver: ClassVar[Any] = staticmethod(operator.is_)
    ascend_resolver: ClassVar[Any] = staticmethod(tuple)

    def resolve(self, kind: Any, value: Any, implicit: Any) -> None:
        """No tag."""


def position_of(node: Node, line: int = 0) -> Position:
    """Where a node begins, in a file that has `line` lines before its document."""
    return Position(node.start_mark.line + 1 + line, node.start_mark.column + 1)


_OPENING = b"[{-?:"
_OPENERS = (b"[", b"{", b"- ", b"-\t", b"? ", b"?\t", b": :", b":\t:")
_DEEP_INDENT = b" " * MAX_DEPTH


def _may_be_deep(data: bytes) -> bool:
    """False only when nesting is certainly harmless for a recursive reader: few openers and no deep indentation."""
    if len(data) - len(data.translate(None, _OPENING)) <= MAX_DEPTH:
        return False  # the usual file, decided in one pass
    return sum(map(data.count, _OPENERS)) > MAX_DEPTH or _DEEP_INDENT in data


def _depth_fault(data: bytes, line: int) -> Fault | None:
    depth = 0
    for event in _events(data):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return Fault(
                    _at(event, line),
                    "TooDeep",
                    f"nested more than {MAX_DEPTH} levels deep",
                    "flatten the value",
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return None


def _events(data: bytes) -> Iterator[Any]:
    parser = _Composer(data)
    while parser.check_event():
        yield parser.get_event()


def _at(event: Any, line: int) -> Position:
    return Position(event.start_mark.line + 1 + line, event.start_mark.column + 1)


def _tag_faults(data: bytes, line: int) -> list[Fault]:
    faults = []
    for event in _events(data):
        tag = getattr(event, "tag", None)
        if tag is not None:
            message = f"the tag {tag.replace('tag:yaml.org,2002:', '!!')} is not allowed"
            faults.append(Fault(_at(event, line), "TagNotAllowed", message, "delete the tag; write the plain value"))
    return faults


def _expanded(node: Node, sizes: dict[int, int | None]) -> int:
    """Nodes beneath and with this one once every alias is written out; `sizes` remembers.

    Raises:
        RecursionError: a node contains itself.
    """
    known = sizes.get(id(node), 0)
    if known:
        return known
    if known is None:
        raise RecursionError
    sizes[id(node)] = None
    total = 1
    if isinstance(node, MappingNode):
        total += sum(_expanded(key, sizes) + _expanded(value, sizes) for key, value in node.value)
    elif isinstance(node, SequenceNode):
        total += sum(_expanded(item, sizes) for item in node.value)
    sizes[id(node)] = total
    return total


def _alias_fault(root: Node, line: int) -> Fault | None:
    sizes: dict[int, int | None] = {}
    fix = "write the value out, or use fewer aliases"
    try:
        extra = _expanded(root, sizes) - len(sizes)
    except RecursionError:
        return Fault(position_of(root, line), "AliasBomb", "an alias refers to a value that contains it", fix)
    if extra <= MAX_ALIAS_NODES:
        return None
    message = f"aliases expand to {_bounded(extra)} nodes; {MAX_ALIAS_NODES:,} are allowed"
    return Fault(position_of(root, line), "AliasBomb", message, fix)


def _bounded(count: int) -> str:
    return f"{count:,}" if count < 10**12 else "more than 10^12"


def _is_text(plain: str) -> bool:
    return plain[:1] not in FIRST_CHARACTERS or resolve_cached(plain) == plain


class _Walk:
    """One walk over a tree: plain values, and the faults met on the way."""

    def __init__(self, line: int, *, escapes: bool) -> None:
        self.line = line
        self.escapes = escapes
        self.faults: list[Fault] = []

    def fault(self, node: Node, bad: BadScalar) -> None:
        self.faults.append(Fault(position_of(node, self.line), *bad, node))

    def scalar(self, node: Any) -> Any:
        text = node.value
        if node.style:  # quoted or block: text
            hidden = HIDDEN.search(text) if self.escapes else None
            if hidden:
                message = f"the character U+{ord(hidden.group()):04X} may not stand in a value"
                self.fault(node, BadScalar("ControlCharacter", message, "delete it"))
            return text
        if text[:1] not in FIRST_CHARACTERS:
            return text
        value = resolve_cached(text)
        if value.__class__ is BadScalar:
            self.fault(node, value)
            return None
        return value

    def key(self, node: Any) -> Any:
        """The text of a key, or None and a fault."""
        if node.__class__ is not ScalarNode:
            self.fault(
                node, BadScalar("NonStringKey", "a key must be text, not a list or mapping", "write a plain word")
            )
            return None
        if node.value == "<<" and not node.style:
            self.fault(node, BadScalar("MergeKey", "merge keys are not allowed", "write the fields out"))
            return None
        before = len(self.faults)
        value = self.scalar(node)
        if value.__class__ is str:
            return value
        if len(self.faults) == before:
            self.fault(
                node,
                BadScalar("NonStringKey", f"the key {node.value or 'null'} is not text", f'quote it: "{node.value}"'),
            )
        return None

    def value(self, node: Any) -> Any:
        kind = node.__class__
        if kind is ScalarNode:
            return self.scalar(node)
        if kind is SequenceNode:
            return [self.scalar(item) if item.__class__ is ScalarNode else self.value(item) for item in node.value]
        result: dict[str, Any] = {}
        scalar, escapes = self.scalar, self.escapes
        for key_node, value_node in node.value:
            key = key_node.value
            if key.__class__ is not str or key_node.style or key == "<<" or not _is_text(key):
                key = self.key(key_node)
            if key is None:
                continue
            if key in result:
                bad = BadScalar("DuplicateKey", f"the key {key} stands twice in this mapping", "delete one of the two")
                self.fault(key_node, bad)
                continue
            if value_node.__class__ is ScalarNode:
                text = value_node.value
                result[key] = scalar(value_node) if escapes or text[:1] in FIRST_CHARACTERS else text
            else:
                result[key] = self.value(value_node)
        return result


def compose(data: bytes) -> Node | None:
    """The node tree of one document, None when it is empty.

    Raises:
        yaml.YAMLError: it is no YAML.
    """
    if not data.endswith(b"\n"):
        data += b"\n"  # a block scalar at the end means the same with and without a final newline
    node: Node | None = _Composer(data).get_single_node()
    return node


def parse(segment: Segment) -> Tree:
    """The values of one document and all its faults; never raises for bad content."""
    data, line = segment
    early = _early_fault(data, line)
    if early:
        return Tree(None, None, (early,))
    try:
        root = compose(data)
        faults = _tag_faults(data, line) if b"!" in data else []
    except yaml.YAMLError as error:
        return Tree(None, None, (_syntax_fault(error, data, line),))
    if root is None or _is_nothing(root):
        return Tree(None, None, tuple(faults))
    bomb = _alias_fault(root, line) if b"*" in data else None
    if bomb:
        return Tree(None, None, (*faults, bomb))
    walk = _Walk(line, escapes=b"\\" in data)
    value = walk.value(root)
    return Tree(root, value, tuple(faults + walk.faults)[:MAX_FAULTS])


def _is_nothing(root: Node) -> bool:
    """A document marker with nothing after it."""
    return isinstance(root, ScalarNode) and not root.value and not root.style


def _syntax_fault(error: yaml.YAMLError, data: bytes, line: int) -> Fault:
    where, reason, message, fix = explain(error, data)
    return Fault(Position(where.line + line, where.column), reason, message, fix)


def _early_fault(data: bytes, line: int) -> Fault | None:
    """What must be known before the recursive composer sees the document."""
    start = Position(line + 1)
    if len(data) > MAX_DOCUMENT:
        return Fault(
            start, "DocumentTooLarge", f"the document has {len(data):,} bytes", f"keep it below {MAX_DOCUMENT:,} bytes"
        )
    directive = find_directive(data)
    if directive is not None:
        where = Position(line + 1 + directive)
        return Fault(where, "DirectiveNotAllowed", "YAML directives (% lines) are not allowed", "delete the line")
    if not _may_be_deep(data):
        return None
    try:
        return _depth_fault(data, line)
    except yaml.YAMLError:
        return None  # the composer will say it
