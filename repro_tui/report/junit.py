"""junit.xml: each check as a test case, for what shows test results (JUnit's XML, as Jenkins and GitLab read it)."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import datetime

from repro_tui.events import CheckStatus, Verdict
from repro_tui.report.model import Check, Report

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TRAINING = {"train", "evaluate"}
"""What ended there is told also where a pin had drifted before and decides the verdict."""
_ENDED_EARLY = {Verdict.FAILED, Verdict.CANCELLED}


def render(report: Report) -> str:
    """Return the report as JUnit's XML.

    A check that differs is a failure, one that could not be verified an error, one that did not run is skipped. A check
    that only informs is never a failure. A run that did not come to its end is an error of its own, and so is a verdict
    that no check explains: nothing but REPRODUCED is ever without a failure or an error.
    """
    suite = ET.Element("testsuite", name=_xml(report.experiment.name))
    cases = [_case(suite, check) for check in report.checks]
    bad = any(case in {"failure", "error"} for case in cases)
    crashed = report.failure is not None and report.failure.stage in _TRAINING
    if report.verdict in _ENDED_EARLY or crashed or (report.verdict is not Verdict.REPRODUCED and not bad):
        cases.append(_run_itself(suite, report))
    count = {kind: sum(case == kind for case in cases) for kind in ("failure", "error", "skipped")}
    suite.attrib.update(
        tests=str(len(cases)), failures=str(count["failure"]), errors=str(count["error"]), skipped=str(count["skipped"])
    )
    suite.set("time", _seconds(report))
    if report.run.started:
        suite.set("timestamp", report.run.started.removesuffix("Z"))
    properties = ET.Element("properties")
    for name, value in _facts(report):
        ET.SubElement(properties, "property", name=name, value=_xml(value))
    suite.insert(0, properties)
    ET.SubElement(suite, "system-out").text = _xml(f"{report.verdict.value}: {report.summary}")
    top = ET.Element("testsuites", name="repro-tui")
    top.attrib.update({key: suite.attrib[key] for key in ("tests", "failures", "errors", "time")})
    top.append(suite)
    ET.indent(top)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ET.tostring(top, encoding="unicode")}\n'


def _case(suite: ET.Element, check: Check) -> str:
    case = ET.SubElement(suite, "testcase", classname=_xml(check.component), name=_xml(check.name), time="0")
    message = f"expected {check.expected or 'nothing'} {check.tolerance}".rstrip()
    message += f", observed {check.observed or 'nothing'}"
    text = f"{message}\n{check.detail}".rstrip()
    kind = ""
    match check.status:
        case CheckStatus.DIFFERS if check.required:
            kind = "failure"
        case CheckStatus.UNVERIFIABLE if check.required:
            kind = "error"
        case CheckStatus.NOT_RUN:
            kind = "skipped"
    if kind == "skipped":
        ET.SubElement(case, kind, message=_xml(check.detail or "not run"))
    elif kind:
        ET.SubElement(case, kind, message=_xml(message), type=check.status.value).text = _xml(text)
    elif check.status in {CheckStatus.DIFFERS, CheckStatus.UNVERIFIABLE}:
        ET.SubElement(case, "system-out").text = _xml(f"informs only: {check.status.value}, {text}")
    return kind


def _run_itself(suite: ET.Element, report: Report) -> str:
    failure = report.failure
    name = failure.stage if failure and failure.stage else "end"
    case = ET.SubElement(suite, "testcase", classname="run", name=f"the run: {_xml(name)}", time="0")
    message = failure.message if failure else report.summary
    detail = "\n".join(line for line in (message, failure.where, failure.hint) if line) if failure else message
    ET.SubElement(case, "error", message=_xml(message), type=report.verdict.value).text = _xml(detail)
    return "error"


def _seconds(report: Report) -> str:
    try:
        began, ended = (datetime.fromisoformat(each or "") for each in (report.run.started, report.run.finished))
        return f"{max(0.0, (ended - began).total_seconds()):.3f}"
    except (ValueError, TypeError):
        return f"{sum(report.timings_s.values()):.3f}"


def _facts(report: Report) -> list[tuple[str, str]]:
    facts = [
        ("verdict", report.verdict.value),
        ("run", report.run.id),
        ("repro-tui", report.run.version),
        ("manifest.sha256", report.manifest.sha256),
        ("bundle.sha256", report.bundle.sha256 if report.bundle else ""),
        ("engine", report.engine.name if report.engine else ""),
        ("image.manifest_digest", report.image.manifest_digest if report.image else ""),
        ("environment_hash", report.environment_hash or ""),
    ]
    return [(name, value) for name, value in facts if value]


def _xml(text: str) -> str:
    """Return text without the characters that XML cannot hold."""
    return _NOT_XML.sub("�", text)
