"""`python3 -S -E recipebox/doctor [--json] [--request FILE]`: doctor by itself, on any machine with Python 3.8."""

from __future__ import annotations

import json
import os
import sys


def main(arguments: list[str]) -> int:
    """Print the table, or with --json the document. Exit code 3 where there is a problem, as in recipebox."""
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from recipebox.doctor.findings import document, examine, table
    from recipebox.doctor.request import CHECKS, default_request

    request = default_request()
    if "--request" in arguments[:-1]:
        with open(arguments[arguments.index("--request") + 1], encoding="utf-8") as file:
            request.update(json.load(file))
    findings = examine(CHECKS, request)
    answer = document(findings)
    sys.stdout.write((json.dumps(answer, indent=2) if "--json" in arguments else table(findings)) + "\n")
    return 3 if answer["problems"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
