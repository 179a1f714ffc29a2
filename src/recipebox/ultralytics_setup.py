"""The one place that turns off what Ultralytics does by itself.

Left alone it installs missing packages, downloads weights and a font, writes a settings file into the home folder, adds
experiment trackers that happen to be installed, sends usage events and asks for a single thread. Here its configuration
lives in a private folder that goes away with the process, and it is told that it is offline.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile

_ENVIRONMENT = {
    "YOLO_AUTOINSTALL": "false",
    "YOLO_OFFLINE": "true",
    "YOLO_VERBOSE": "false",
}
_done = False


def import_ultralytics() -> None:
    """Import Ultralytics with everything switched off that reaches out of the process. Call before any import of it."""
    global _done
    if _done:
        return
    os.environ.update(_ENVIRONMENT)
    threads = os.environ.get("OMP_NUM_THREADS")
    import torch  # noqa: F401 - before Ultralytics asks for one thread, which OpenMP would read here

    if "ultralytics" not in sys.modules:
        private = tempfile.mkdtemp(prefix="recipebox-ultralytics-")
        atexit.register(_remove, private, os.getpid())
        os.environ["YOLO_CONFIG_DIR"] = private
        os.environ.setdefault("MPLCONFIGDIR", os.path.join(private, "matplotlib"))

    from ultralytics.engine import trainer as engine_trainer
    from ultralytics.utils import SETTINGS
    from ultralytics.utils.callbacks import base

    if not threads:  # set to 1 by Ultralytics: every lock and process made after that would be of one thread
        os.environ.pop("OMP_NUM_THREADS", None)
    trackers = ("clearml", "comet", "dvc", "mlflow", "raytune", "tensorboard", "wandb")
    SETTINGS.update({"sync": False, **dict.fromkeys(trackers, False)})
    base.add_integration_callbacks = _no_integrations
    engine_trainer.callbacks.add_integration_callbacks = _no_integrations
    # Stock training loads a YOLO26n from the network to see whether mixed precision works on this GPU.
    engine_trainer.check_amp = _amp_as_asked
    _done = True


def _no_integrations(instance: object) -> None:
    return None


def _amp_as_asked(model: object) -> bool:
    """Mixed precision is used where the recipe asks for it and the device has it."""
    return next(model.parameters()).device.type == "cuda"  # type: ignore[attr-defined, no-any-return]


def _remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)
