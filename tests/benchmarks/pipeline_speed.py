"""What the shipped pipeline adds to the network, beside Ultralytics' predict on the same ONNX file, on a CPU.

    python tests/benchmarks/pipeline_speed.py RUN [--images 60] [--rounds 12] [--threads 2] [--cpu-time]

RUN: a run with an exported file whose data is at hand. All arms run in one process over the same decoded images:

- pre+post: the pipeline's own pre- and post-processing against predict's, `predictor.preprocess` and `postprocess`
- end to end / inference: the bench's pipeline, one image after the other, against the session alone on inputs that
  were prepared before
- bench's inference / independent loop: the p50 that the bench records of `inference` against that of a plain loop over
  the same session, in turn

Pre- and post-processing are timed on outputs of the network, so that both see the very same; with --cpu-time the clock
is the process's CPU time, for a machine that others use (the first arm runs on one thread then).
"""

from __future__ import annotations

import recipebox  # noqa: F401 - says how threads wait, which they ask once, when torch comes

# isort: split

import argparse
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from paired import finish, ratio, rounds

from recipebox.bench.cpu_backends import OnnxCpu
from recipebox.bench.measure import Timings, decode, run_once, warm_up
from recipebox.bench.pipeline import HostPipeline
from recipebox.bench.run import run_file
from recipebox.evaluate.run import read_evaluation
from recipebox.run_dir import find_run
from recipebox.stages import read_plan
from recipebox.supplies import Supplies
from recipebox.ultralytics_setup import import_ultralytics


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("run")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cpu-time", action="store_true", help="CPU seconds, for a machine that others use")
    options = parser.parse_args()
    run = find_run(options.run)
    evaluated = read_evaluation(run)
    file = run_file(run, evaluated)
    images = decode(Supplies().detection_set(read_plan(run).settings).test.images, options.images).images
    backend = OnnxCpu(file.path, threads=options.threads)
    pipeline = HostPipeline(backend, conf=float(evaluated["threshold"]))
    warm_up(pipeline, images)
    clock = time.process_time if options.cpu_time else time.perf_counter
    around = around_the_network(pipeline, file.path, images, options.rounds, clock)
    print("pre+post, ours / predict's:", around, flush=True)
    whole = end_to_end(pipeline, images, options.rounds, clock)
    print("end to end / inference alone:", whole, flush=True)
    loop = independent_loop(pipeline, images, options.rounds, clock)
    finish(
        clock=clock.__name__, images=len(images), rounds=options.rounds, threads=options.threads,
        imgsz=backend.imgsz, sha256=backend.sha256[:12], pre_post=around, end_to_end=whole, inference_p50=loop,
    )  # fmt: skip


def around_the_network(pipeline: HostPipeline, file: Path, images: Any, count: int, clock: Any) -> dict[str, Any]:
    """Pre- and post-processing of each image by both; the network's output is made once, and is the same for both."""
    import_ultralytics()
    import torch
    from ultralytics import YOLO

    torch.set_num_threads(1)
    model = YOLO(str(file), task="detect")
    options: dict[str, Any] = {"conf": pipeline.conf, "rect": False, "device": "cpu", "verbose": False}
    model.predict(images[0], imgsz=pipeline.backend.imgsz, **options)
    predictor: Any = model.predictor
    raws = []
    for image in images:
        frame = pipeline.frame(image)
        for _, step in pipeline.steps[:-1]:
            step(frame)
        raws.append(frame.raw.copy())

    def ours() -> None:
        first, last = pipeline.steps[0][1], pipeline.steps[-1][1]
        for image, raw in zip(images, raws, strict=True):
            frame = pipeline.frame(image)
            first(frame)
            frame.raw = raw
            last(frame)

    def theirs() -> None:
        for image, raw in zip(images, raws, strict=True):
            predictor.batch = (["image0.jpg"], [image], [""])
            with torch.inference_mode():
                inputs = predictor.preprocess([image])
                predictor.postprocess(torch.from_numpy(raw), inputs, [image])

    for arm in (ours, theirs):
        arm()
    spent = rounds({"ours": ours, "theirs": theirs}, count, clock)
    each = {f"{name}_ms": round(1000 * statistics.median(times) / len(images), 4) for name, times in spent.items()}
    return ratio(spent["ours"], spent["theirs"]) | each


def end_to_end(pipeline: HostPipeline, images: Any, count: int, clock: Any) -> dict[str, Any]:
    """The pipeline image after image, against the session alone on inputs prepared before."""
    inputs = [pipeline._prepare(image)[0].copy() for image in images]
    session, name = session_of(pipeline)

    def whole() -> None:
        timings = Timings()
        for image in images:
            run_once(pipeline, image, timings)

    def alone() -> None:
        for prepared in inputs:
            session.run(None, {name: prepared})

    spent = rounds({"whole": whole, "alone": alone}, count, clock)
    each = {f"{arm}_ms": round(1000 * statistics.median(times) / len(images), 3) for arm, times in spent.items()}
    return ratio(spent["whole"], spent["alone"]) | each


def independent_loop(pipeline: HostPipeline, images: Any, count: int, clock: Any) -> dict[str, Any]:
    """The p50 of `inference` as the bench records it, against the p50 of a plain loop's, image by image in turn."""
    session, name = session_of(pipeline)
    inputs = [pipeline._prepare(image)[0].copy() for image in images]
    p50s: list[tuple[float, float]] = []
    for _ in range(count):
        timings = Timings()
        plain: list[float] = []
        for number, image in enumerate(images):
            for which in (0, 1) if number % 2 == 0 else (1, 0):
                if which == 0:
                    run_once(pipeline, image, timings, clock)
                else:
                    began = clock()
                    session.run(None, {name: inputs[number]})
                    plain.append(clock() - began)
        p50s.append((float(np.median(timings.steps["inference"])), float(np.median(plain))))
    bench, loop = zip(*p50s, strict=True)
    shown = {"bench_ms": round(1000 * statistics.median(bench), 3), "loop_ms": round(1000 * statistics.median(loop), 3)}
    return ratio(list(bench), list(loop)) | shown


def session_of(pipeline: HostPipeline) -> tuple[Any, str]:
    session = pipeline.backend._detector._session  # type: ignore[attr-defined]
    return session, session.get_inputs()[0].name


if __name__ == "__main__":
    main()
