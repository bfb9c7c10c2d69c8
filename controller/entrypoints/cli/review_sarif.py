"""A review of proposed specs as SARIF 2.1.0, which code hosts show beside the lines.

Promises: a result with its position for everything that preflight or the schema objects to; refused and invalid are
errors, what must wait is a warning. Source: OASIS SARIF 2.1.0. Does not: judge.
"""

import json
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"


def page(value: Mapping[str, Any]) -> str:
    """The whole document."""
    findings = [(item, finding) for item in value["items"] for finding in (*item["rules"], *item["problems"])]
    reasons = sorted({finding["reason"] for _, finding in findings})
    driver = {
        "name": "fetchml",
        "version": version("fetchml"),
        "rules": [{"id": reason} for reason in reasons],
    }
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(item, finding, reasons) for item, finding in findings],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def _result(item: Mapping[str, Any], finding: Mapping[str, Any], reasons: list[str]) -> dict[str, Any]:
    field = f"{finding['field']}: " if finding["field"] else ""
    return {
        "ruleId": finding["reason"],
        "ruleIndex": reasons.index(finding["reason"]),
        "level": "warning" if finding.get("verdict") == "Wait" else "error",
        "message": {"text": f"{field}{finding['message']}; {finding['fix']}"},
        "locations": [{"physicalLocation": dict(_place(item, finding))}],
    }


def _place(item: Mapping[str, Any], finding: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    uri = quote(finding["file"] or item["file"], errors="replace")
    yield "artifactLocation", {"uri": uri, "uriBaseId": "%SRCROOT%"}
    if finding["line"]:
        yield "region", {"startLine": finding["line"], "startColumn": finding["column"] or 1}
