"""From an architecture's name to the YAML it is built from."""

from __future__ import annotations

from pathlib import Path


def network_file(architecture: str | None) -> str:
    """Our own YAML where there is one beside this file, else the name of Ultralytics'."""
    name = f"{architecture}.yaml"
    own = Path(__file__).with_name(name)
    return str(own) if own.is_file() else name
