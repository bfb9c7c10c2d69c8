"""The status block at the end of a document, and the user part: every byte that is not in it.

Promises: the user part survives any number of status writes byte for byte (comments, CRLF, spacing, `...`, a missing
final newline). Does not: touch files, or look at what a status means.

The block is the `status:` line of the root mapping and the lines of its value; blank lines and comments after it are
the user's. We put it last, before a `...` line. When the user part has no final newline, the one that must stand
before the block belongs to the block, and the block's first line says so (`NO_NEWLINE`); taking the block away takes
that newline too.
"""

from collections.abc import Mapping
from typing import Any

from yaml.nodes import MappingNode, Node

from controller.api import yaml_writer
from controller.api.segments import Segment, check_bytes, find_end, segments
from controller.api.yaml_loader import parse

NO_NEWLINE = b"# the line above had no final newline"


def is_flow(root: Node | None) -> bool:
    """Whether the document cannot hold a block: its root is no block mapping."""
    return not isinstance(root, MappingNode) or bool(root.flow_style)


def _around(data: bytes, root: Node | None) -> tuple[bytes, bytes]:
    """What stands before and after the status block; all and nothing when there is none."""
    if b"status" not in data or not isinstance(root, MappingNode) or root.flow_style:
        return data, b""
    starts = [key.start_mark.line for key, _ in root.value]
    mine = next((index for index, (key, _) in enumerate(root.value) if key.value == "status"), None)
    if mine is None:
        return data, b""
    lines = data.splitlines(keepends=True)
    start = starts[mine]
    end = starts[mine + 1] if mine + 1 < len(starts) else len(data[: find_end(data)].splitlines())
    while end > start + 1 and _is_blank(lines[end - 1]):
        end -= 1
    before, after = b"".join(lines[:start]), b"".join(lines[end:])
    if not after and lines[start].rstrip().endswith(NO_NEWLINE):
        before = before.removesuffix(b"\n").removesuffix(b"\r")
    return before, after


def user_part(data: bytes, root: Node | None) -> bytes:
    """The document without its status block, given its node tree."""
    before, after = _around(data, root)
    return before + after if after else before


def _is_blank(line: bytes) -> bool:
    return line.lstrip()[:1] in {b"", b"#"}


def user_part_of(data: bytes, index: int = 0) -> bytes:
    """The user part of a file's document, for comparing versions of a file; its bytes as they are when it is no
    YAML."""
    segment = _segment(data, index)
    if b"status" not in segment.data or check_bytes(data):
        return segment.data
    return user_part(segment.data, parse(segment).root)


def _segment(data: bytes, index: int) -> Segment:
    found = segments(data)
    return found[index] if index < len(found) else Segment(b"", 0)


def with_status(document: bytes, status: Mapping[str, Any]) -> bytes:
    """The same document with this status block at its end (replacing the one it has); user part byte for byte.

    Raises:
        ValueError: the document cannot hold one (flow root, several documents, not YAML), or the status is no JSON.
    """
    root, value = _sole_mapping(document)
    before, after = _around(document, root)
    user = before + after
    places = [find_end(user), len(before)]  # the second keeps a block where it was, when moving it would change a text
    for place in places:
        written = user[:place] + _block(user[:place], status, root.start_mark.column) + user[place:]
        if _keeps(written, user, value):
            return written
    raise ValueError("a status block cannot be written without changing what the document says")


def _block(before: bytes, status: Mapping[str, Any], margin: int) -> bytes:
    """The block's bytes, with the line ends of the text before it."""
    first = before.find(b"\n")
    newline = "\r\n" if first > 0 and before[first - 1 : first] == b"\r" else "\n"
    head, *rest = yaml_writer.lines({"status": dict(status)})
    complete = not before or before.endswith(b"\n")
    if not complete:
        head = f"{head} {NO_NEWLINE.decode()}"
    block = "".join(f"{' ' * margin}{line}{newline}" for line in (head, *rest))
    return (block if complete else newline + block).encode()


def _sole_mapping(document: bytes) -> tuple[Node, dict[str, Any]]:
    fault = check_bytes(document)
    if fault:
        raise ValueError(f"a status block cannot be written: {fault.message}")
    found = segments(document)
    if len(found) != 1:
        raise ValueError("a status block cannot be written into a file of several documents")
    tree = parse(found[0])
    if tree.root is None or is_flow(tree.root):
        raise ValueError("a status block cannot be written: the document is not a mapping in block style")
    if any(
        fault.reason == "DuplicateKey" and fault.node is not None and fault.node.value == "status"
        for fault in tree.faults
    ):
        raise ValueError("a status block cannot be written: the document has two")
    return tree.root, tree.value


def _keeps(written: bytes, user: bytes, value: dict[str, Any]) -> bool:
    """Whether the written document differs from the old one in its status only (an anchor inside it may forbid
    that)."""
    tree = parse(Segment(written, 0))
    same = isinstance(tree.value, dict) and {**tree.value, "status": None} == {**value, "status": None}
    return same and user_part(written, tree.root) == user
