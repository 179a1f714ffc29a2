"""These tests run the small detector of tests/tiny_detector.py, on one thread."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def on_one_thread(one_thread: None) -> None:
    """Threads that wait for each other cost more than they give."""
