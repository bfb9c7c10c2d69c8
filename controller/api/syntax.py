"""What a YAML parser's complaint means to somebody who writes an experiment.

Promises: each complaint of libyaml becomes one sentence, one fix and the place where the mistake was made (which for
an open quote or bracket is where it was opened, not where the file ended). Does not: parse.
"""

import re
from typing import NamedTuple

import yaml

from controller.api.problems import Position


class Complaint(NamedTuple):
    """A syntax error in plain words; the position is within the document."""

    position: Position
    reason: str
    message: str
    fix: str


_TABLE: tuple[tuple[str, str, str, str], ...] = (
    (
        "found undefined alias",
        "UndefinedAlias",
        "the alias {word} names no anchor",
        'define it with & before its use, or quote the text: "{word}"',
    ),
    ("second occurrence", "DuplicateAnchor", "the anchor {word} is defined twice", "give the second one another name"),
    (
        "mapping values are not allowed",
        "YAMLSyntax",
        "a ':' stands where no key can be",
        "indent the line like its neighbours, or quote a value that contains ': '",
    ),
    (
        "block sequence entries are not allowed",
        "YAMLSyntax",
        "a '-' stands where no list item can be",
        "begin the list on its own line, or quote the text",
    ),
    (
        "found unexpected end of stream",
        "YAMLSyntax",
        "the quote that opens here is never closed",
        "close it with the same quote",
    ),
    (
        "found unexpected document indicator",
        "YAMLSyntax",
        "the quote that opens here runs into the next document",
        "close it with the same quote",
    ),
    (
        "did not find expected ',' or ']'",
        "YAMLSyntax",
        "the list that opens with '[' here is not closed, or lacks a comma",
        "close it with ']' and put commas between its items",
    ),
    (
        "did not find expected ',' or '}'",
        "YAMLSyntax",
        "the mapping that opens with '{{' here is not closed, or lacks a comma",
        "close it with '}}' and put commas between its fields",
    ),
    (
        "did not find expected '-' indicator",
        "YAMLSyntax",
        "this line is no item of the list above it",
        "begin it with '- ', or indent it as part of an item",
    ),
    (
        "did not find expected key",
        "YAMLSyntax",
        "this does not belong to the mapping above",
        "indent the line like its neighbours, or put the whole value in quotes",
    ),
    ("could not find expected ':'", "YAMLSyntax", "this line has no ':' after its key", "write key: value"),
    (
        "found unknown escape character",
        "YAMLSyntax",
        "an unknown escape in a double-quoted text",
        "double the backslash, or use single quotes",
    ),
    (
        "found invalid Unicode character escape code",
        "YAMLSyntax",
        "an escape that is no Unicode character",
        "write the character itself",
    ),
    (
        "did not find expected hexdecimal number",
        "YAMLSyntax",
        "an escape with too few hexadecimal digits",
        "double the backslash, or use single quotes",
    ),
    ("found a tab character", "YAMLSyntax", "a tab indents this line", "indent with spaces"),
    ("exceeded maximum nesting depth", "TooDeep", "nested too deeply", "flatten the value"),
    (
        "did not find expected node content",
        "YAMLSyntax",
        "a value is missing here",
        "write a value, or delete the extra ',' or bracket",
    ),
    (
        "did not find expected comment or line break",
        "YAMLSyntax",
        "text follows the '|' or '>' on its own line",
        "begin the text on the next line, indented",
    ),
    (
        "did not find expected alphabetic or numeric",
        "YAMLSyntax",
        "a '&' or '*' without a name",
        "quote the text if no alias is meant",
    ),
    (
        "directive",
        "DirectiveNotAllowed",
        "YAML directives (% lines) are not allowed",
        "delete the line, or quote the text",
    ),
    ("tag", "TagNotAllowed", "tags ('!') are not allowed", "quote the text if no tag is meant"),
)
_LINE_ENDS = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_AT_THE_START = ("find expected ':'", "alphabetic or numeric character")
_AT_THE_OPENING = ("end of stream", "document indicator", "',' or ']'", "',' or '}'")


def explain(error: yaml.YAMLError, data: bytes) -> Complaint:
    """The complaint of one parse error of this document."""
    problem = str(getattr(error, "problem", None) or error)
    context = str(getattr(error, "context", None) or "")
    mark = _mark(error, problem)
    where = _inside(Position(mark.line + 1, mark.column + 1), data) if mark else Position()
    line = _line(data, where.line)
    rest = line[where.column - 1 :]
    if problem.startswith("found character that cannot start"):
        return Complaint(where, "YAMLSyntax", *_bad_start(rest))
    words = rest.split()
    for needle, reason, message, fix in _TABLE:
        if needle in problem or (needle in context and len(needle) < 10):
            word = words[0] if words else ""
            return Complaint(where, reason, message.format(word=word), fix.format(word=word))
    return Complaint(
        where, "YAMLSyntax", f"this is no YAML: {problem}", "check indentation, quotes and brackets near here"
    )


def _mark(error: yaml.YAMLError, problem: str) -> yaml.Mark | None:
    at: yaml.Mark | None = getattr(error, "problem_mark", None)
    opening: yaml.Mark | None = getattr(error, "context_mark", None)
    if opening is None:
        return at
    if at is None or problem.endswith(_AT_THE_START):
        return opening
    return opening if at.line != opening.line and problem.endswith(_AT_THE_OPENING) else at


def _inside(where: Position, data: bytes) -> Position:
    """The end of a file without a final line end stands on its last line; the parser puts it on the next one."""
    lines = _LINE_ENDS.split(data.decode(errors="replace"))
    return where if where.line <= len(lines) else Position(len(lines), len(lines[-1]) + 1)


def _line(data: bytes, number: int) -> str:
    lines = data.decode(errors="replace").removeprefix("\ufeff").split("\n")
    return lines[number - 1] if number <= len(lines) else ""


def _bad_start(rest: str) -> tuple[str, str]:
    if rest.startswith("\t"):
        return "a tab stands where spaces are expected", "indent with spaces"
    return f"no value can begin with {rest[:1]!r}", "quote the value"
