"""What leaves a run: `recipebox export`, in the variant that was asked for, its scan, and `recipebox bundle`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recipebox.endings import claimed, signals_interrupt
from recipebox.errors import BadInput, CheckFailed
from recipebox.job import refuse_running
from recipebox.run_dir import RunDir, find_run
from recipebox.stages import read_plan
from recipebox.supplies import Supplies

if TYPE_CHECKING:
    from recipebox.export.variant import Place
    from recipebox.recipe.schema import Settings

FORMATS = ("onnx", "engine")


@dataclass(frozen=True)
class Wish:
    """The options of `recipebox export`, as they were typed."""

    format: str = "onnx"
    precision: str | None = None
    batch: str | None = None
    nms: bool | None = None
    keep: tuple[str, ...] = ()
    check: bool = False


@dataclass(frozen=True)
class Exported:
    """The document of an export or a scan, what people are told, and the exit code."""

    document: dict[str, Any]
    text: str
    exit_code: int = 0


def export_job(name: str, wish: Wish) -> Exported:
    """Export a run's best weights and measure the file; with `wish.check` measure the one that is there.

    Raises:
        BadInput: no such format, precision or batch.
        RunError: no such run, or it is running.
        RecipeboxError: what `export.run.export` raises.
    """
    run = find_run(name)
    settings = read_plan(run).settings
    _check_format(run, wish.format, settings)
    if wish.check and wish.format != "onnx":
        raise BadInput("--check measures the ONNX file that is there: leave --format engine out.")
    from recipebox.export.run import check_again, export, export_engine
    from recipebox.export.variant import chosen, place

    variant = chosen(settings.export, precision=wish.precision, batch=wish.batch, nms=wish.nms, keep=wish.keep)
    refuse_running(run)
    if wish.format == "engine":
        from recipebox.export.tensorrt.driver import require_gpu

        require_gpu()  # before data is prepared, let alone TensorRT touched
    with signals_interrupt(), claimed(run):
        make = export_engine if wish.format == "engine" else check_again if wish.check else export
        document = make(run, settings, Supplies().detection_set(settings), variant=variant)
        return Exported(document, _text(run, document, place(run, variant, settings.export)))


def sensitivity_job(name: str, wish: Wish) -> Exported:
    """Measure which convolutions INT8 hurts and what to keep; exports nothing. Exit code 3 where nothing helps.

    Raises:
        BadInput: another format or precision was asked for, or no such batch.
        RunError: no such run, or it is running.
        RecipeboxError: what `export.sensitivity.sensitivity` raises.
    """
    run = find_run(name)
    settings = read_plan(run).settings
    if wish.format != "onnx" or wish.precision not in (None, "int8"):
        asked = f"--format {wish.format}" if wish.format != "onnx" else f"--precision {wish.precision}"
        raise BadInput(f"--sensitivity measures what INT8 costs in the ONNX file: leave {asked} out.")
    from recipebox.export.sensitivity import sensitivity
    from recipebox.export.sensitivity_text import sensitivity_text
    from recipebox.export.variant import chosen, options

    variant = chosen(settings.export, precision="int8", batch=wish.batch, nms=wish.nms, keep=wish.keep)
    refuse_running(run)
    with signals_interrupt(), claimed(run):
        document = sensitivity(run, settings, Supplies().detection_set(settings), variant=variant)
    text = sensitivity_text(document, run.root, options(variant, settings.export))
    return Exported(document, text, 0 if "suggested" in document else CheckFailed.exit_code)


def bundle_job(name: str, *, precision: str | None, out: Path | None) -> Exported:
    """Write a folder that detects by itself, from an export that passed.

    Args:
        name: a run folder, or a recipe: its latest finished run.
        precision: of the variant that is shipped; None takes the recipe's own.
        out: a new folder; None makes `bundle` in the run, or `bundle-int8` and so on.

    Raises:
        RunError: no such run, or nothing that passed.
        RecipeboxError: what `export.bundle.write.write_bundle` raises.
    """
    run = find_run(name)
    settings = read_plan(run).settings
    from recipebox.export.bundle.write import write_bundle
    from recipebox.export.variant import chosen, place

    variant = chosen(settings.export, precision=precision)
    name = place(run, variant, settings.export).onnx.stem.replace("best", "bundle")
    folder = (out or run.root / name).absolute()
    document = write_bundle(run, variant, settings.export, folder)
    text = f"{folder}\n`pip install -r requirements.txt && python detect.py IMAGE` there needs no recipebox"
    return Exported(document | {"folder": str(folder)}, text)


def _check_format(run: RunDir, name: str, settings: Settings) -> None:
    if name in FORMATS:
        return
    raise BadInput(
        f"--format {name}: recipebox writes {' and '.join(FORMATS)}, which it can measure. For others use Ultralytics' "
        f"exporter, and measure what it wrote yourself: yolo export model={run.best} format={name} "
        f"imgsz={settings.train.imgsz}"
    )


def _text(run: RunDir, document: dict[str, Any], files: Place) -> str:
    """The file, how far it is from PyTorch, and what the gate says."""
    parity, test = document["parity"], document["test"]
    boxes = f"{parity['max_box_px']:.3g} px" if "max_box_px" in parity else "no boxes to compare"
    engine = document["format"] == "engine"
    file, result = (files.engine, files.engine_result) if engine else (files.onnx, files.result)
    lines = [
        f"{file}  {document['precision']}, batch {document['batch']}, {document['bytes'] / 2**20:.1f} MiB, "
        f"SHA-256 {document['sha256'][:12]}",
        f"differs from PyTorch by at most: boxes {boxes}, scores {parity['max_score']:.3g}",
    ]
    read_back = document.get("engine", {}).get("precision_read_back")
    if read_back:
        lines.append(
            f"precision read back from the engine for {read_back['verified']} of {read_back['of']} convolutions"
        )
    if "calibration" in document:
        used = document["calibration"]
        lines.append(f"calibrated on {used['images']} training images, seed {used['seed']}, {used['sha256'][:12]}")
    if "map_drop" in document:
        drop = document["map_drop"]
        lines.append(
            f"test mAP50-95 {test['mAP50-95']:.4f}, {'down' if drop > 0 else 'up'} {abs(drop):.4f} from the .pt; "
            f"{document['max_map_drop']:g} may be lost: passed"
        )
    again = f"`recipebox report {run.root}` writes the report again."
    return "\n".join([*lines, str(result), *([again] if file == run.onnx else [])])
