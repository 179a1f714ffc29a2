"""Grids, what is wrong with them, and sweeps with an engine that trains nothing, or everything."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conftest import command_line_environment

from recipebox.errors import (
    BadInput,
    DataError,
    PlanConflict,
    RecipeboxError,
    RunError,
    StorageError,
    TrainingFailed,
    WeightsError,
)
from recipebox.experiment import engine
from recipebox.experiment.grid import Arm, parse_over, parse_seeds, plan_arms
from recipebox.experiment.sweep import Sweep, sweep_job
from recipebox.experiment.sweep_text import sweep_document, sweep_text
from recipebox.experiment.trace import trace
from recipebox.experiment.window import Window
from recipebox.making import new_run
from recipebox.recipe.load import load_recipe
from recipebox.recipe.plan import Plan
from recipebox.recipe.plan_record import plan_from_yaml, plan_to_yaml
from recipebox.report import pictures
from recipebox.run_dir import RunDir, write_json
from recipebox.supplies import Supplies, probe


def sweep(
    recipes: Path, supplies: Supplies, made_by: Any, *over: str, seeds: str | None = "1,2,3", **more: Any
) -> Sweep:
    given: dict[str, Any] = {"profile": None, "changes": [], "device": "cpu"} | more
    return sweep_job(str(recipes / "tiny.yaml"), supplies, over=over, seeds=seeds, engine=made_by, **given)


def invented(score: Callable[[Plan], float | None], seen: list[Plan] | None = None) -> Any:
    """An engine whose runs have the test mAP that `score` says; none where it says None."""

    def made(plans: list[Plan]) -> list[RunDir]:
        runs = []
        for plan in plans:
            run, value = RunDir.create(plan.name), score(plan)
            run.plan.touch()
            if value is None:
                run.set_state("failed", "the loss is no longer finite")
            else:
                run.set_state("finished")
                write_json(run.result("evaluate"), {"test": {"mAP50-95": value, "mAP50": value + 0.2}})
            runs.append(run)
        if seen is not None:
            seen.extend(plans)
        return runs

    return made


def test_a_grid_has_every_combination_with_every_seed(recipes: Path, supplies: Supplies) -> None:
    seen: list[Plan] = []
    over = ("train.lr0=0.001,0.002", "techniques.ema=off,{tau: 5}")
    done = sweep(recipes, supplies, invented(lambda plan: 0.5, seen), *over, seeds="4,5")
    assert [row.arm.label for row in done.rows] == [
        "lr0=0.001, ema=off",
        'lr0=0.001, ema={"tau": 5}',
        "lr0=0.002, ema=off",
        'lr0=0.002, ema={"tau": 5}',
    ]
    assert [(p.settings.train.seed, p.settings.train.lr0) for p in seen] == [
        (seed, rate) for seed in (4, 5) for rate in (0.001, 0.001, 0.002, 0.002)
    ], "seed by seed, so that an interrupted sweep has whole pairs"
    averages = [p.settings.techniques.ema for p in seen]
    assert [ema.tau if ema else ema for ema in averages] == [False, 5.0] * 4


def test_differences_are_paired_with_the_first_arm(recipes: Path, supplies: Supplies) -> None:
    """What a seed does to both falls out: 0.02 to 0.04 better with every seed, though seeds are 0.1 apart."""
    gain = {1: 0.02, 2: 0.03, 3: 0.04}

    def score(plan: Plan) -> float:
        seed = plan.settings.train.seed
        return 0.1 * seed + (gain[seed] if plan.settings.train.lr0 == 0.001 else 0.0)

    done = sweep(recipes, supplies, invented(score), "train.lr0=0.002,0.001")
    document = json.loads((done.folder / "sweep.json").read_text(encoding="utf-8"))
    assert document == json.loads(json.dumps(sweep_document(done), allow_nan=False))
    assert (document["schema"], document["state"], document["seeds"]) == (1, "finished", [1, 2, 3])
    first, second = document["arms"]
    assert "difference" not in first["mAP50-95"]
    assert first["mAP50-95"]["mean"] == pytest.approx(0.2)
    found = second["mAP50-95"]["difference"]
    assert found["mean"] == pytest.approx(0.03)
    half = 4.302653 * 0.01 / 3**0.5
    assert found["interval"] == pytest.approx([0.03 - half, 0.03 + half], rel=1e-5)
    assert "+3.00" in sweep_text(done)
    assert (done.folder / "sweep.png").read_bytes().startswith(b"\x89PNG")
    assert done.exit_code == 0


def test_scores_of_0_are_no_proof_that_arms_are_alike(recipes: Path, supplies: Supplies) -> None:
    def score(found: float) -> str:
        def of(plan: Plan) -> float:
            return found

        made = invented(of)
        return sweep_text(sweep(recipes, supplies, made, "train.lr0=0.002,0.001"))

    assert "No run finds anything" not in score(0.1)
    assert "No run finds anything" in score(-0.2), "mAP50 is 0.2 above it"


def test_a_table_is_as_wide_as_the_terminal(recipes: Path, supplies: Supplies, monkeypatch: pytest.MonkeyPatch) -> None:
    done = sweep(recipes, supplies, invented(lambda plan: 0.5), "train.lr0=0.002,0.001", "techniques.ema=off,{tau: 5}")
    monkeypatch.setenv("COLUMNS", "80")
    lines = sweep_text(done).splitlines()
    assert max(map(len, lines[:-1])) <= 80, "all but the path of the record"
    arm = lines.index('lr0=0.001, ema={"tau": 5}')
    assert lines[arm + 1].startswith("    seeds 3, mAP50-95 0.500, difference +0.00, 95% interval ")


def test_arms_that_differ_at_the_end_of_a_section_are_told_apart_in_the_picture(
    recipes: Path, supplies: Supplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []
    png = pictures.png

    def noted(figure: Any) -> bytes:
        drawn.extend(label.get_text() for label in figure.axes[0].get_yticklabels())
        return png(figure)

    monkeypatch.setattr(pictures, "png", noted)
    smoothing = "techniques.label_smoothing=null,{epsilon: 0.1, form: binary, per_class: {short: 0.2}}"
    done = sweep(recipes, supplies, invented(lambda plan: 0.5), smoothing, "augment.mosaic=0,1", seeds="1")
    assert [" ".join(label.split()) for label in drawn] == [row.arm.label for row in done.rows]
    assert max(len(line) for label in drawn for line in label.split("\n")) <= 44


def test_one_seed_prints_no_interval(recipes: Path, supplies: Supplies) -> None:
    done = sweep(recipes, supplies, invented(lambda plan: 0.5), "train.lr0=0.002,0.001", seeds=None)
    assert done.seeds == (0,), "the recipe's own"
    assert "One seed says nothing of chance" in sweep_text(done)
    assert "interval" not in sweep_document(done)["arms"][1]["mAP50"]["difference"]


def test_an_engine_may_make_its_runs_in_any_order_and_at_once(recipes: Path, supplies: Supplies) -> None:
    """What a distributed engine does: all plans at once, each on its own, and the runs in the order of the plans."""

    def score(plan: Plan) -> float:
        return 0.01 * plan.settings.train.seed + 0.1 * (plan.settings.train.lr0 == 0.001)

    def scattered(plans: list[Plan]) -> list[RunDir]:
        everybody = threading.Barrier(len(plans), timeout=60)

        def remote(text: str) -> RunDir:
            everybody.wait()
            (run,) = invented(score)([plan_from_yaml(text)])
            return run

        with ThreadPoolExecutor(len(plans)) as pool:
            return list(pool.map(remote, map(plan_to_yaml, plans)))

    done = sweep(recipes, supplies, scattered, "train.lr0=0.002,0.001")
    first, second = (row.scores["mAP50-95"] for row in done.rows)
    assert (first, second) == (pytest.approx((0.01, 0.02, 0.03)), pytest.approx((0.11, 0.12, 0.13)))
    with pytest.raises(RunError, match="6 plans gave 5 runs"):
        sweep(recipes, supplies, lambda plans: scattered(plans)[1:], "train.lr0=0.002,0.001")


def test_a_run_that_failed_is_told_and_the_rest_compared(recipes: Path, supplies: Supplies) -> None:
    def score(plan: Plan) -> float | None:
        return None if (plan.settings.train.seed, plan.settings.train.lr0) == (2, 0.5) else 0.5

    done = sweep(recipes, supplies, invented(score), "train.lr0=0.002,0.5")
    assert done.exit_code == 1
    assert "no longer finite" in sweep_text(done)
    document = sweep_document(done)
    assert document["state"] == "failed"
    assert len(document["arms"][1]["mAP50-95"]["difference"]["by_seed"]) == 2


def test_everything_wrong_is_said_at_once_and_nothing_runs(recipes: Path, supplies: Supplies, tmp_path: Path) -> None:
    def nothing(plans: list[Plan]) -> list[RunDir]:
        raise AssertionError("nothing may run")

    wrong = ("train.lr=1", "train.seed=1,2", "train.lrf=0.1,0.1", "train", "train.epochs=5", "train.cos_lr=")
    with pytest.raises(BadInput) as refused:
        sweep(recipes, supplies, nothing, *wrong, seeds="1,x", changes=["train.epochs=2"])
    said = str(refused.value)
    for words in (
        "did you mean `train.lrf`",
        "seeds are given by --seeds",
        "a value twice",
        "not KEY=V1,V2, such as",
        "`train.epochs` is set already",
        "--seeds 1,x",
    ):
        assert words in said
    with pytest.raises(BadInput) as refused:
        sweep(recipes, supplies, nothing, "train.epochs=0,2", "techniques.ema.tau=10,bad", seeds="1,1")
    said = str(refused.value)
    assert "--over train.epochs: `train.epochs` must be at least 1" in said
    assert "--over techniques.ema.tau" in said
    assert "a seed is there twice" in said
    with pytest.raises(BadInput) as refused:
        sweep(recipes, supplies, nothing, "train.lr=1,2", "train.batch=0,4", "train.epochs=1,1", "data.images=0")
    said = str(refused.value)
    for words in ("did you mean `train.lrf`", "--over train.batch: ", "a value twice", "--over data.images: "):
        assert said.count(words) == 1, "a key that is wrong does not hide the values of others"
    with pytest.raises(BadInput) as refused:
        sweep_job("none", supplies, over=["train.lr=1"], seeds="x", profile=None, changes=["train.a=1"], device="cpu")
    said = str(refused.value)
    for words in ("none: no such recipe", "--over train.lr", "--seeds x", "--set train.a"):
        assert words in said
    with pytest.raises(BadInput, match="are the same run"):
        sweep(recipes, supplies, nothing, "techniques.ema={tau: 10},{tau: 10.0}")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("recipe", "over"),
    [
        ("tiny", "export.precision=fp32,int8"),
        ("tiny", "evaluate.iou=0.5,0.6"),
        ("tiny", "bench.images=2,3"),
        ("tiny", "train.workers=0,2"),
        ("tiny", "techniques.ema={tau: 10},{tau: 10, evaluate_both: true}"),
        ("student", "techniques.distillation.teachers=[{recipe: tiny}],[{recipe: tiny, weight: 2}]"),
    ],
)
def test_what_does_not_decide_the_weights_is_no_arm(recipes: Path, supplies: Supplies, recipe: str, over: str) -> None:
    """The second arm would find the first one's runs by their locks: a difference of 0, and certain of it."""
    keys, _ = parse_over([over], [])
    with pytest.raises(BadInput, match=r"are the same run.*what was trained"):
        plan_arms(load_recipe(recipes / f"{recipe}.yaml"), probe("cpu"), supplies, over=keys, profile=None, changes=[])


def test_arms_that_are_measured_on_other_images_are_refused(recipes: Path, supplies: Supplies) -> None:
    def planned(*over: str) -> list[Arm]:
        keys, _ = parse_over(over, [])
        return plan_arms(
            load_recipe(recipes / "tiny.yaml"), probe("cpu"), supplies, over=keys, profile=None, changes=[]
        )

    with pytest.raises(BadInput, match=r"data\.images=48 has other test images \(12\) than data\.images=8 \(8\)"):
        planned("data.images=8,16,48")
    assert len(planned("data.images=8,16")) == 2, "other training boards, and the same eight to test on"


def test_what_the_data_refuses_is_refused_before_anything_runs(recipes: Path, supplies: Supplies) -> None:
    """Training would find out one run after the other, the good ones first."""
    over = {
        "techniques.sampling": [None, {"by": "repeat_factor", "threshold": 0.0001}],
        "techniques.anchor_head": [None, {"count": 12}],
    }
    (recipes / "taught.yaml").write_text(
        "# purpose: a teacher that cannot be\nextends: tiny\n"
        "techniques: {sampling: {by: repeat_factor, threshold: 0.0001}}\n",
        encoding="utf-8",
    )
    (recipes / "pupil.yaml").write_text(
        (recipes / "student.yaml").read_text(encoding="utf-8").replace("recipe: tiny", "recipe: taught"), "utf-8"
    )

    def refused(recipe: str, over: dict[str, Any], *changes: str) -> str:
        with pytest.raises(BadInput) as caught:
            plan_arms(load_recipe(recipes / recipe), probe("cpu"), supplies, over=over, profile=None, changes=changes)
        return str(caught.value)

    said = refused("tiny.yaml", over, "data.images=4")
    assert said.count('"threshold": 0.0001}, techniques.anchor_head=null: `sampling` with') == 1
    assert "techniques.sampling=null, techniques.anchor_head={" in said
    assert "that takes at least 36 different sizes" in said
    assert refused("pupil.yaml", {}).startswith("teacher taught: `sampling` with `threshold: 0.0001` changes nothing")


@pytest.fixture
def plain(recipes: Path, supplies: Supplies) -> Callable[..., Plan]:
    """The plan of one short epoch with this rate."""
    path = recipes / "tiny.yaml"
    short = path.read_text(encoding="utf-8").replace("epochs: 3", "epochs: 1").replace("warmup_epochs: 1, ", "")
    path.write_text(short.replace("bench: {images: 2}", "bench: {targets: []}"), encoding="utf-8")

    def make(rate: float) -> Plan:
        over = {"train.lr0": [rate]}
        (arm,) = plan_arms(load_recipe(path), probe("cpu"), supplies, over=over, profile=None, changes=[])
        return arm.plan

    return make


@pytest.mark.parametrize("error", [TrainingFailed, PlanConflict, DataError, WeightsError, RunError])
def test_a_run_that_fails_leaves_the_others_to_be_made(
    plain: Callable[..., Plan], supplies: Supplies, monkeypatch: pytest.MonkeyPatch, error: type[RecipeboxError]
) -> None:
    def finish(run: RunDir, plan: Plan, supplies: Supplies) -> None:
        if plan.settings.train.lr0 == 0.5:
            run.set_state("failed", "no good")
            raise error("no good")
        run.set_state("finished")

    monkeypatch.setattr(engine, "finish_run", finish)
    plans = [plain(rate) for rate in (0.001, 0.5, 0.002)]
    for _ in range(2):
        runs = engine.sequential(supplies)(plans)
        assert [run.state()[0] for run in runs] == ["finished", "failed", "finished"]


def test_a_full_disk_ends_the_sweep(
    plain: Callable[..., Plan], supplies: Supplies, monkeypatch: pytest.MonkeyPatch
) -> None:
    def finish(run: RunDir, plan: Plan, supplies: Supplies) -> None:
        raise StorageError("the disk is full")

    monkeypatch.setattr(engine, "finish_run", finish)
    with pytest.raises(StorageError):
        engine.sequential(supplies)([plain(0.001)])


def test_a_run_whose_checkpoint_is_spoiled_is_made_anew(plain: Callable[..., Plan], supplies: Supplies) -> None:
    plan = plain(0.001)
    spoiled = new_run(plan, supplies)
    spoiled.checkpoint.write_bytes(b"half a checkpoint")
    spoiled.set_state("stopped", "interrupted")
    (run,) = engine.sequential(supplies)([plan])
    assert run != spoiled
    assert (run.state()[0], spoiled.state()[0]) == ("finished", "failed")
    assert engine.sequential(supplies)([plan]) == [run], "and taken as it is from then on"


def test_over_and_seeds_are_read_as_yaml() -> None:
    over, problems = parse_over(["augment.mixup=0,0.1", "techniques.ema=off,null,{tau: 5}"], [])
    assert not problems
    assert over == {"augment.mixup": [0, 0.1], "techniques.ema": [False, None, {"tau": 5}]}
    assert parse_seeds("3, 1")[0] == [3, 1]
    assert parse_seeds(None) == ([], [])
    assert parse_seeds(str(2**31))[1]


def test_the_same_seed_means_the_same_images(recipes: Path, supplies: Supplies) -> None:
    over = {"train.lr0": [0.001, 0.002]}
    loaded = load_recipe(recipes / "tiny.yaml")
    arms = plan_arms(loaded, probe("cpu"), supplies, over=over, profile=None, changes=[])
    detection_set = supplies.detection_set(arms[0].plan.settings)

    def images(plan: Plan) -> Any:
        return trace(plan, Window(0, views=8), detection_set, weights=None, teacher_runs=()).views

    assert images(arms[0].seeded(1)) == images(arms[1].seeded(1)) != images(arms[0].seeded(2))


def test_arms_are_told_apart_by_the_end_of_their_keys(recipes: Path, supplies: Supplies) -> None:
    over = {f"techniques.distillation.{term}.weight": [0.5] for term in ("logits", "box")}
    loaded = load_recipe(recipes / "student.yaml")
    (arm,) = plan_arms(loaded, probe("cpu"), supplies, over=over, profile=None, changes=[])
    assert arm.label == "logits.weight=0.5, box.weight=0.5"


def test_teachers_keep_their_seed(recipes: Path, supplies: Supplies) -> None:
    loaded = load_recipe(recipes / "student.yaml")
    (arm,) = plan_arms(loaded, probe("cpu"), supplies, over={}, profile=None, changes=[])
    plan = arm.seeded(7)
    assert plan.settings.train.seed == 7
    assert plan.teachers == arm.plan.teachers
    assert [(change.path, change.after, change.by) for change in plan.changes] == [("train.seed", 7, "--seeds")]


def test_an_interrupted_sweep_goes_on(recipes: Path, supplies: Supplies, tmp_path: Path) -> None:
    """Ctrl-C in the second run of the command; the same sweep then reuses the first and resumes the second."""
    path = recipes / "tiny.yaml"
    small = path.read_text(encoding="utf-8").replace("close_mosaic: 1", "close_mosaic: 0")
    small = small.replace("bench: {images: 2}", "bench: {targets: []}")
    path.write_text(small, encoding="utf-8")
    # The second run is long enough to be still training when a busy machine gets round to the signal.
    over = "train.epochs=1,8"
    process = subprocess.Popen(
        [sys.executable, "-m", "recipebox.cli", "sweep", "tiny", "--over", over, "--json"],
        cwd=tmp_path,
        env=command_line_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 240
    try:
        while len(list((tmp_path / "runs" / "tiny").glob("*/state.json"))) < 2 or not second_trains(tmp_path):
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130, told
    assert "the same `recipebox sweep` command goes on" in told
    (record,) = (tmp_path / "runs" / "sweeps").glob("*/sweep.json")
    assert json.loads(record.read_text(encoding="utf-8"))["state"] == "stopped"
    first, second = sorted((tmp_path / "runs" / "tiny").iterdir())
    weights = (first / "weights" / "best.pt").stat().st_mtime_ns
    done = sweep(recipes, supplies, None, over, seeds=None)
    document = sweep_document(done)
    assert [arm["runs"][0]["run"] for arm in document["arms"]] == [str(first), str(second)]
    assert [arm["runs"][0]["state"] for arm in document["arms"]] == ["finished", "finished"]
    assert sorted((tmp_path / "runs" / "tiny").iterdir()) == [first, second], "no run is made twice"
    assert (first / "weights" / "best.pt").stat().st_mtime_ns == weights
    assert json.loads(record.read_text(encoding="utf-8")) == document


def second_trains(tmp_path: Path) -> bool:
    """Whether the latest run has made a step."""
    steps = sorted((tmp_path / "runs" / "tiny").iterdir())[-1] / "steps.jsonl"
    return steps.is_file() and steps.stat().st_size > 0
