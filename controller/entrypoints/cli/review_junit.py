"""A review of proposed specs as JUnit XML, which GitLab, Jenkins and others show as tests.

Promises: well-formed XML whatever a spec holds; a suite for each experiment; what preflight refuses is a failure, what
must wait is skipped. Does not: judge.
"""

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree as Xml

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot carry, not even escaped."""


def page(value: Mapping[str, Any]) -> str:
    """The whole document."""
    root = Xml.Element("testsuites", {"name": "ml explain"})
    for item in value["items"]:
        _suite(root, item)
    counts = {name: str(sum(int(suite.get(name, "0")) for suite in root)) for name in ("tests", "failures", "skipped")}
    root.attrib.update(counts)
    Xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root, encoding="unicode") + "\n"


def _suite(root: Xml.Element, item: Mapping[str, Any]) -> None:
    name = _clean(item["experiment"] or item["file"])
    suite = Xml.SubElement(root, "testsuite", {"name": name})
    findings = [*item["rules"], *item["problems"]]
    for finding in findings:
        _case(suite, name, finding)
    if not findings:
        case = Xml.SubElement(suite, "testcase", {"classname": name, "name": "preflight", "file": _clean(item["file"])})
        Xml.SubElement(case, "system-out").text = _clean(item["meaning"])
    suite.attrib.update(
        tests=str(len(suite)),
        failures=str(len(suite.findall("*/failure"))),
        skipped=str(len(suite.findall("*/skipped"))),
    )


def _case(suite: Xml.Element, name: str, finding: Mapping[str, Any]) -> None:
    place = {"file": _clean(finding["file"])} | ({"line": str(finding["line"])} if finding["line"] else {})
    case = Xml.SubElement(suite, "testcase", {"classname": name, "name": finding["reason"], **place})
    message = _clean(f"{finding['message']}; {finding['fix']}")
    if finding.get("verdict") == "Wait":
        Xml.SubElement(case, "skipped", {"message": message})
        return
    where = ":".join(str(part) for part in (finding["file"], finding["line"], finding["column"]) if part)
    failure = Xml.SubElement(case, "failure", {"type": finding["reason"], "message": message})
    failure.text = _clean(f"{where}: {finding['field']}: {finding['message']}; {finding['fix']}")


def _clean(text: str) -> str:
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
