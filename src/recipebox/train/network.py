"""From an architecture's name to the YAML it is built from."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_OWN_SCALED = re.compile(r"^(yolov8)([nslmx])-(p2)$")


def network_file(architecture: str | None, *, p2: bool = False) -> str:
    """Our own YAML where there is one beside this file, else the name of Ultralytics'.

    Args:
        p2: the network of that name with a level of stride 4. One file serves all sizes, as in Ultralytics: the name of
            `yolov8n-p2.yaml` means `yolov8-p2.yaml` in size n.
    """
    name = f"{architecture}{'-p2' if p2 else ''}.yaml"
    own = Path(__file__).with_name(name)
    return str(own) if own.is_file() or _OWN_SCALED.match(own.stem) else name


def network_description(network: Any) -> Any:
    """What Ultralytics builds a network from: the content of our YAML where one file serves several sizes, else
    `network` itself.

    Ultralytics would take the size out of the whole path, and a folder called `run2x` is one, too.
    """
    size = _OWN_SCALED.match(Path(network).stem) if isinstance(network, str) and network.endswith(".yaml") else None
    if size is None:
        return network
    from ultralytics.utils import YAML

    described: dict[str, Any] = YAML.load(Path(__file__).with_name(f"{size[1]}-{size[3]}.yaml"))
    return {**described, "scale": size[2], "yaml_file": Path(network).name}
