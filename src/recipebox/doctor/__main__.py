"""`python3 -S -E recipebox/doctor [--json] [--request FILE]`: doctor by itself, on any machine with Python 3.8."""

from __future__ import annotations

import json
import os
import sys


def main(arguments: list[str]) -> int:
    """Print the table, or with --json the document. Exit code 3: there is a problem; 2: the call is not understood."""
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
    from recipebox.doctor.findings import document, examine, table
    from recipebox.doctor.request import CHECKS, default_request

    request = default_request()
    left = [one for one in arguments if one != "--json"]
    if left:
        if len(left) != 2 or left[0] != "--request":
            sys.stderr.write("usage: recipebox/doctor [--json] [--request FILE]\n")
            return 0 if left[0] in ("-h", "--help") else 2
        try:
            with open(left[1], encoding="utf-8") as file:
                request.update(json.load(file))
        except (OSError, ValueError, TypeError) as error:
            sys.stderr.write(f"error: --request {left[1]}: {error}. Give a file with a JSON object.\n")
            return 2
    findings = examine(CHECKS, request)
    answer = document(findings)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a path may be no text of this terminal
    sys.stdout.write((json.dumps(answer, indent=2) if "--json" in arguments else table(findings)) + "\n")
    return 3 if answer["problems"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
