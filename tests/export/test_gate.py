"""The gate's limits, and the page that tells them."""

from __future__ import annotations

import re
from pathlib import Path

from recipebox.export.gate import LIMITS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "run-files.md"


def test_the_page_tells_the_limits() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    number = r"([\d.]+)"
    found = re.search(
        rf"by more than {number} or boxes by more than {number} px \(FP16: {number} and {number} px\)", text
    )
    assert found is not None
    score, pixels, half_score, half_pixels = map(float, found.groups())
    assert {"fp32": (pixels, score), "fp16": (half_pixels, half_score), "int8": None} == LIMITS
