"""A plugin of pytest that says how every test ended, a line of JSON each, in the file named by TWINSTREAM_REPORT."""

import json
import os
import re

REPORT = os.environ["TWINSTREAM_REPORT"]
# Worse comes later.
ORDER = ["passed", "skipped", "failed"]
ended = {}


def tell(node, outcome, reason):
    # A name must be one word, because it stands in lists.
    line = {"test": re.sub(r"\s+", "_", node), "outcome": outcome, "reason": reason}
    with open(REPORT, "a", encoding="utf-8") as report:
        report.write(json.dumps(line) + "\n")


def pytest_collection_finish(session):
    # Whoever has only this line took the process with it.
    for item in session.items:
        tell(item.nodeid, "collected", "")


def pytest_collectreport(report):
    if report.failed:
        tell(report.nodeid, "failed", last_words(report.longreprtext))


def pytest_runtest_logreport(report):
    outcome, reason = report.outcome, ""
    if report.skipped:
        reason = skip_reason(report)
    elif report.failed:
        reason = f"{report.when}: {last_words(report.longreprtext)}"
    before = ended.get(report.nodeid, ("passed", ""))
    if ORDER.index(outcome) > ORDER.index(before[0]):
        ended[report.nodeid] = (outcome, reason)
    if report.when == "teardown":
        tell(report.nodeid, *ended.pop(report.nodeid, ("passed", "")))


def skip_reason(report):
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2].removeprefix("Skipped: ")
    return "expected to fail"


def last_words(text):
    """The first lines that pytest marks as the error, which say what was wanted and what came, else the last line."""
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    return " / ".join(errors[:4] or lines[-1:])[:600]
