"""The gate's limits, and the page that tells them."""

from __future__ import annotations

import re
from pathlib import Path

from recipebox.export.gate import LIMITS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "run-files.md"


def test_the_page_tells_the_limits() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    found = re.search(r"by more than ([\d.]+) or boxes by more than ([\d.]+) px \(FP16: ([\d.]+) and ([\d.]+) px\)", text)
    assert found is not None
    score, pixels, half_score, half_pixels = map(float, found.groups())
    assert LIMITS == {"fp32": (pixels, score), "fp16": (half_pixels, half_score), "int8": None}
