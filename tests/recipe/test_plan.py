from __future__ import annotations

from pathlib import Path

import pytest

from recipebox.errors import DataError, PlanConflict, RecipeError, RunError, WeightsError
from recipebox.recipe.changes import load_changed, parse_set
from recipebox.recipe.describe import describe_plan
from recipebox.recipe.load import find_recipes, load_recipe
from recipebox.recipe.plan import make_plan, plan_document, plan_from_yaml, plan_to_yaml, technique_order

LAYERED = """\
data: {dataset: deeppcb, fallback: pcb-synthetic}
model: {weights: yolov8n.pt, fallback: scratch}
train: {epochs: 100, imgsz: 640, batch: 16, optimizer: SGD, lr0: 0.01}
profiles:
  cpu: {train: {epochs: 12, imgsz: 320}}
fallbacks:
  pcb-synthetic: {data: {images: 80}, train: {epochs: 5, close_mosaic: 1, imgsz: 256}}
  scratch: {train: {epochs: 7}}
"""


def changes(plan):
    return {(change.path, change.by): (change.before, change.after) for change in plan.changes}


def test_later_wins(write, machine, shelf):
    loaded = load_recipe(write("one", LAYERED))
    bare = make_plan(loaded, machine("cuda:0"))
    assert (bare.profile, bare.settings.train.epochs, bare.changes) == (None, 100, ())
    cpu = make_plan(loaded, machine())
    assert (cpu.profile, cpu.settings.train.epochs, cpu.fallbacks) == ("cpu", 12, ())
    gone = frozenset({"deeppcb", "yolov8n.pt"})
    fallen = make_plan(loaded, machine(), unavailable=gone, overrides=parse_set(["train.imgsz=128"]))
    assert fallen.settings.data.dataset == "pcb-synthetic"
    assert fallen.settings.model.weights == "scratch"
    assert fallen.settings.model.arch == "yolov8n"
    assert fallen.settings.train.epochs == 7, "the fallback of the weights comes after that of the data"
    assert fallen.settings.train.imgsz == 128
    assert changes(fallen) == {
        ("train.epochs", "profile cpu"): (100, 12),
        ("train.imgsz", "profile cpu"): (640, 320),
        ("data.dataset", "fallback pcb-synthetic"): ("deeppcb", "pcb-synthetic"),
        ("data.images", "fallback pcb-synthetic"): (None, 80),
        ("train.epochs", "fallback pcb-synthetic"): (12, 5),
        ("train.imgsz", "fallback pcb-synthetic"): (320, 256),
        ("train.close_mosaic", "fallback pcb-synthetic"): (10, 1),
        ("model.weights", "fallback scratch"): ("yolov8n.pt", "scratch"),
        ("model.arch", "fallback scratch"): (None, "yolov8n"),
        ("train.epochs", "fallback scratch"): (5, 7),
        ("train.imgsz", "--set"): (256, 128),
    }
    assert [words.split(":")[0] for words in fallen.fallbacks] == ["data", "weights"]


def test_set_cannot_ask_back_what_is_gone(write, machine):
    loaded = load_recipe(write("one", LAYERED))
    gone = frozenset({"deeppcb", "yolov8s.pt"})
    asked = parse_set(["data.dataset=deeppcb", "model.weights=yolov8s.pt"])
    plan = make_plan(loaded, machine(), unavailable=gone, overrides=asked)
    assert plan.settings.data.dataset == "pcb-synthetic"
    assert (plan.settings.model.weights, plan.settings.model.arch) == ("scratch", "yolov8s")


def test_what_can_be_fetched_is_pending_until_it_fails(write, machine, shelf):
    loaded = load_recipe(write("one", LAYERED))
    empty = machine(shelf=shelf(data=frozenset(), weights=frozenset()))
    plan = make_plan(loaded, empty)
    assert plan.settings.data.dataset == "deeppcb"
    assert [(p.kind, p.name, p.fallback) for p in plan.pending] == [
        ("data", "deeppcb", "pcb-synthetic"),
        ("weights", "yolov8n.pt", "scratch"),
    ]
    assert plan.estimate.download_bytes == 110_000_000 + 6_500_000
    text = describe_plan(plan)
    assert "deeppcb (110 MB) will be fetched first; if that fails, pcb-synthetic is used" in text
    assert "FALLBACK" not in text
    replanned = make_plan(loaded, empty, unavailable=frozenset({"deeppcb", "yolov8n.pt"}))
    assert replanned.pending == ()
    assert describe_plan(replanned).startswith("!!!!"), "a fallback is said before anything else"


def test_no_fallback_means_an_error_that_says_how_to_mend(write, machine, shelf, good):
    loaded = load_recipe(write("one", good))
    with pytest.raises(DataError, match=r"one\.yaml:1: .*RECIPEBOX_DATA.*make data DATASET=deeppcb FROM="):
        make_plan(loaded, machine(), unavailable=frozenset({"deeppcb"}))
    with pytest.raises(WeightsError, match=r"one\.yaml:2: .*RECIPEBOX_WEIGHTS"):
        make_plan(loaded, machine(), unavailable=frozenset({"yolov8n.pt"}))
    lenient = make_plan(loaded, machine(), unavailable=frozenset({"deeppcb"}), require_data=False)
    assert any("make data DATASET=deeppcb" in warning for warning in lenient.warnings)
    own = load_recipe(write("two", good.replace("{weights: yolov8n.pt}", "{weights: own.pt, fallback: scratch}")))
    with pytest.raises(WeightsError, match=r"say `model\.arch`"):
        make_plan(own, machine())


def test_profiles(write, machine):
    loaded = load_recipe(write("one", LAYERED))
    with pytest.raises(RecipeError, match=r"one\.yaml:4: no profile `cpus` in one; did you mean `cpu`\?"):
        make_plan(loaded, machine(), profile="cpus")
    named = make_plan(loaded, machine("cuda:0"), profile="cpu")
    assert (named.profile, named.profile_reason, named.device) == ("cpu", "asked for", "cuda:0")


def test_a_wrong_set_is_named_as_such(write, machine, good):
    loaded = load_recipe(write("one", good))
    with pytest.raises(RecipeError) as caught:
        make_plan(loaded, machine(), overrides=parse_set(["train.epochs=many", "train.imgsz=100"]))
    assert str(caught.value).splitlines() == [
        '--set train.epochs: `train.epochs` must be a whole number, not "many"',
        "--set train.imgsz: `train.imgsz` must be a multiple of 32, not 100; 96 or 128 would do",
    ]


def test_every_wrong_set_is_named_at_once(write, good):
    """A key that is none does not hide a value that is wrong, nor does it invent one."""
    path = write("one", good)
    with pytest.raises(RecipeError) as caught:
        load_changed(path, ["train.epoch=3", "train.imgsz=100", "train.batch=4", "techniques.ema.tau=-1", "nonsense"])
    told = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in told] == [
        "--set train.epoch",
        "--set nonsense",
        "--set train.imgsz",
        "--set techniques.ema.tau",
    ]


def test_a_set_that_a_profile_lets_pass_is_not_named(write, good):
    profiled = good + "profiles: {balanced: {techniques: {class_weights: {by: inverse}}}}\n"
    asked = ["techniques.class_weights.power=0.5", "train.epoch=3"]
    with pytest.raises(RecipeError) as caught:
        load_changed(write("one", profiled), asked)
    assert "class_weights" not in str(caught.value)
    with pytest.raises(RecipeError, match="class_weights"):
        load_changed(write("one", good), asked)


STUDENT = """\
data: {dataset: deeppcb}
model: {weights: yolov8n.pt}
train: {epochs: 12, imgsz: 320, batch: 16, nbs: 16, optimizer: AdamW, lr0: 0.001, close_mosaic: 3}
techniques:
  ema: {tau: 100}
  distillation:
    teachers: [{recipe: teacher}]
    logits: {weight: 1.0}
    box: {}
"""
TEACHER = STUDENT.split("techniques:")[0].replace("yolov8n", "yolov8s") + "techniques: {ema: {tau: 50}}\n"

CONFLICTS = [
    (
        "optimizer: AdamW, lr0: 0.001",
        "optimizer: auto, lr0: 0.001",
        r"one\.yaml:3: `train\.lr0` with `optimizer: auto`",
    ),
    ("optimizer: AdamW, lr0: 0.001", "optimizer: auto, warmup_bias_lr: 0.0", r":3: `train\.warmup_bias_lr` with"),
    ("optimizer: AdamW, lr0: 0.001", "optimizer: SGD", r":3: `optimizer: SGD` needs `train\.lr0`"),
    ("weights: yolov8n.pt", "weights: yolo26n.pt", r":9: .*the student, yolo26n, has none .*reg_max is 1"),
    ("    logits: {weight: 1.0}\n    box: {}\n", "", r":6: `distillation` has none of `logits`, `box` and `features`"),
    (
        "    box: {}\n",
        "    features: {loss: pkd, temperature: 2}\n",
        r":9: `distillation\.features\.temperature` with `loss: pkd`",
    ),
    ("imgsz: 320", "imgsz: 352", r":7: the teacher teacher is trained at 320 px and the student at 352"),
    ("dataset: deeppcb", "dataset: cars", r":7: the teacher teacher knows the classes open, .*the student car "),
    ("imgsz: 320, batch: 16", "imgsz: 32, batch: 3", r"batch normalisation cannot do that"),
]


@pytest.mark.parametrize(("right", "wrong", "says"), CONFLICTS, ids=[case[1][:40] for case in CONFLICTS])
def test_conflicts_are_refused_with_the_reason(write, machine, right, wrong, says):
    write("teacher", TEACHER)
    assert right in STUDENT
    loaded = load_recipe(write("one", STUDENT.replace(right, wrong)))
    with pytest.raises(PlanConflict, match=says):
        make_plan(loaded, machine())


def test_all_conflicts_are_said_at_once(write, machine):
    write("teacher", TEACHER.replace("yolov8s", "yolo26n").replace("lr0: 0.001, ", ""))
    text = STUDENT.replace("optimizer: AdamW", "optimizer: auto").replace("yolov8n", "yolo26n")
    with pytest.raises(PlanConflict) as caught:
        make_plan(load_recipe(write("one", text)), machine())
    reasons = str(caught.value).splitlines()
    assert len(reasons) == 3
    assert "`train.lr0` with" in reasons[0]
    assert "the student, yolo26n" in reasons[1]
    assert reasons[2].startswith("teacher teacher: ")
    assert "needs `train.lr0`" in reasons[2]


def test_yolo26_learns_from_logits_alone_and_cannot_teach_boxes(write, machine):
    write("teacher", TEACHER)
    student = load_recipe(write("one", STUDENT.replace("    box: {}\n", "").replace("yolov8n", "yolo26n")))
    assert technique_order(make_plan(student, machine()).settings) == ("distillation", "ema")
    write("teacher", TEACHER.replace("yolov8s", "yolo26n"))
    with pytest.raises(PlanConflict, match="the teacher, yolo26n, has none"):
        make_plan(load_recipe(write("one", STUDENT)), machine())


def test_teachers_with_unknown_class_names_are_let_through(write, machine, shelf):
    write("teacher", TEACHER.replace("deeppcb", "cars"))
    loaded = load_recipe(write("one", STUDENT))
    assert make_plan(loaded, machine(shelf=shelf(classes=None))).teachers[0].settings.data.dataset == "cars"


def test_teachers_go_in_no_circle(write, machine):
    write("teacher", STUDENT.replace("recipe: teacher", "recipe: one"))
    with pytest.raises(PlanConflict, match="teachers go in a circle: one -> teacher -> one"):
        make_plan(load_recipe(write("one", STUDENT)), machine())


def test_a_broken_teacher_is_told_of_the_student(write, machine):
    write("teacher", TEACHER.replace("epochs", "epoch"))
    with pytest.raises(RecipeError, match=r"one\.yaml:7: teacher teacher: .*teacher\.yaml:3: .*did you mean `epochs`"):
        make_plan(load_recipe(write("one", STUDENT)), machine())


def test_both_fall_back_or_none(write, machine):
    write("teacher", TEACHER.replace("dataset: deeppcb", "dataset: cars"))
    text = STUDENT.replace("dataset: deeppcb", "dataset: deeppcb, fallback: pcb-synthetic")
    with pytest.raises(PlanConflict, match="only one of the two recipes may fall back"):
        make_plan(load_recipe(write("one", text)), machine(), unavailable=frozenset({"deeppcb"}))


def test_teachers_inherit_what_decides_the_images(write, machine):
    write("teacher", TEACHER + "profiles:\n  smoke: {train: {epochs: 1, close_mosaic: 0}}\n")
    loaded = load_recipe(write("one", STUDENT + "profiles:\n  smoke: {train: {epochs: 2, close_mosaic: 0}}\n"))
    asked = parse_set(["train.imgsz=64", "train.seed=7", "data.images=20", "train.lr0=0.5", "train.epochs=9"])
    plan = make_plan(loaded, machine(), profile="smoke", overrides=asked)
    teacher = plan.teachers[0]
    assert (plan.settings.train.epochs, teacher.settings.train.epochs) == (9, 1)
    assert (teacher.profile, teacher.settings.train.imgsz, teacher.settings.train.seed) == ("smoke", 64, 7)
    assert (teacher.settings.data.images, teacher.settings.train.lr0) == (20, 0.001)


WARNINGS = [
    ("close_mosaic: 3", "close_mosaic: 12", "mosaic: closed before it began"),
    ("close_mosaic: 3", "close_mosaic: 3\n  warmup_epochs: 10", "more than half the run"),
    ("close_mosaic: 3", "close_mosaic: 3\n  patience: 12", "`patience: 12` does nothing"),
    ("close_mosaic: 3", "close_mosaic: 3\n  warmup_epochs: 0\n  warmup_bias_lr: 0.1", "does nothing without a warm-up"),
    ("close_mosaic: 3", "close_mosaic: 3\n  warmup_momentum: 0.5", "`warmup_momentum` does nothing with AdamW"),
    ("{tau: 100}", "{tau: 529}", "ramp is longer than the run: tau 529, 528 optimizer steps"),
    ("  ema: {tau: 100}\n", "  distillation: null\n", "tau 2000 (Ultralytics' own"),
    ("techniques:", "augment: {mosaic: 0}\ntechniques:", "`close_mosaic: 3` does nothing"),
    ("close_mosaic: 3", "close_mosaic: 12\naugment: {mosaic: 0, mixup: 0.5}", "mixup: closed before it began"),
    ("techniques:", "fallbacks: {other: {}}\ntechniques:", "`fallbacks.other` is never taken"),
    ("techniques:", "evaluate: {compare: [nobody]}\ntechniques:", "`evaluate.compare`: nobody: no such recipe"),
    ("dataset: deeppcb", "dataset: deeppcb, images: 900", "deeppcb has 700"),
]


@pytest.mark.parametrize(("right", "wrong", "says"), WARNINGS, ids=[case[1][:40] for case in WARNINGS])
def test_idle_settings_are_warned_about(write, machine, good, right, wrong, says):
    assert make_plan(load_recipe(write("one", good)), machine()).warnings == ()
    warnings = make_plan(load_recipe(write("one", good.replace(right, wrong))), machine()).warnings
    assert len(warnings) == 1, warnings
    assert says in warnings[0]


def test_mixup_without_mosaic_is_closed_too(write, machine, good):
    text = good.replace("techniques:", "augment: {mosaic: 0, mixup: 0.5}\ntechniques:")
    assert make_plan(load_recipe(write("one", text)), machine()).warnings == ()


def test_each_lever_has_a_line_of_its_own(write, machine, good):
    plan = make_plan(load_recipe(write("one", good + "  clipping: {max_norm: 5}\n  swa: {last: 2}\n")), machine())
    lines = describe_plan(plan).splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("  techniques "))
    assert [line[13:].split()[0] for line in lines[first : first + 3]] == ["clipping", "EMA", "SWA:"]


@pytest.mark.parametrize(
    ("term", "says"),
    [
        ("{weight: 0}", "does nothing: its weight is 0"),
        ("{weight_end: 0.3}", "starts from the default, 1"),
        ("{weight: 0.5, weight_end: 0.5}", "equals `weight`"),
    ],
)
def test_idle_distillation_terms(write, machine, term, says):
    write("teacher", TEACHER)
    plan = make_plan(load_recipe(write("one", STUDENT.replace("{weight: 1.0}", term))), machine())
    assert len(plan.warnings) == 1
    assert says in plan.warnings[0]


def test_a_small_disk_is_warned_about(write, machine, good):
    warnings = make_plan(load_recipe(write("one", good)), machine(free_disk=1_000_000)).warnings
    assert len(warnings) == 1
    assert "1 MB are free" in warnings[0]


def test_estimate(write, machine, good):
    loaded = load_recipe(write("one", good))
    estimate = make_plan(loaded, machine()).estimate
    assert (estimate.train_images, estimate.steps_per_epoch, estimate.optimizer_steps) == (700, 44, 528)
    assert estimate.ema_decay_end == pytest.approx(0.9999, abs=0.006)
    assert estimate.seconds == pytest.approx(12 * 46)
    assert make_plan(loaded, machine("cuda:0")).estimate.seconds is None


def shipped() -> list[Path]:
    here = Path(__file__).resolve().parents[2] / "recipes"
    return [path for path in find_recipes() if path.resolve().parent == here]


def test_the_recipes_that_ship_are_found():
    assert {"pcb-baseline", "pcb-teacher", "pcb-distill"} <= {path.stem for path in shipped()}


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_every_recipe_plans_under_every_profile_with_and_without_data_and_weights(path, machine, shelf):
    loaded = load_recipe(path)
    assert {"gpu", "cpu", "smoke"} <= set(loaded.recipe.profiles)
    data, weights = {"deeppcb"}, {"yolov8n.pt", "yolov8s.pt", "yolov8x.pt"}
    for profile in [None, *loaded.recipe.profiles]:
        for gone in map(frozenset, (set(), data, weights, data | weights)):
            here = machine("cuda:0" if profile == "gpu" else "cpu")
            plan = make_plan(loaded, here, profile=profile, unavailable=gone)
            assert plan.profile == profile or profile is None
            assert plan.warnings == (), (profile, gone)
            assert plan_from_yaml(plan_to_yaml(plan)) == plan
            assert describe_plan(plan).count("FALLBACK") == any(each.fallbacks for each in (plan, *plan.teachers))
            for each in (plan, *plan.teachers):
                drawn = each.settings.model.architecture == "yolov8-mobilenetv3"  # there are no weights of it
                assert (each.settings.model.weights == "scratch") == (weights <= gone or drawn)
                assert each.settings.data.dataset in (
                    {"pcb-synthetic"} if data <= gone else {"pcb-synthetic", "deeppcb"}
                )
                assert each.settings.train.lr0 is not None
                assert each.settings.train.imgsz == plan.settings.train.imgsz


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_every_profile_sets_its_schedule_on_purpose(path):
    for name in ("gpu", "cpu", "smoke"):
        profile = load_recipe(path).recipe.profiles[name]
        assert {"optimizer", "lr0", "nbs", "warmup_epochs", "close_mosaic"} <= set(profile["train"]), name
        assert "tau" in profile["techniques"]["ema"], name


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_every_header_says_purpose_needs_command_and_result(path):
    header = [line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    said = {line[1:].partition(":")[0].strip(): line.partition(":")[2].strip() for line in header}
    for key in ("purpose", "needs", "command", "result"):
        assert said.get(key), key
    assert f"RECIPE={path.stem}" in said["command"]


def test_the_embedded_default_fits_its_time(machine):
    """No data, no weights, two cores: teacher and student are estimated at less than 25 minutes together."""
    gone = frozenset({"deeppcb", "yolov8n.pt", "yolov8s.pt"})
    loaded = load_recipe(next(path for path in shipped() if path.stem == "pcb-distill"))
    plan = make_plan(loaded, machine(), unavailable=gone)
    seconds = [each.estimate.seconds for each in (plan, *plan.teachers)]
    assert len(seconds) == 2
    assert sum(seconds) < 25 * 60


@pytest.mark.parametrize(
    "text",
    ["", "[]", "a: [", "schema: 9", "just words", "schema: 1\nname: x", "schema: 1\nteachers: 3", "a: &x [*x]", "\x00"],
)
def test_what_is_no_plan_is_refused(text):
    with pytest.raises(RunError):
        plan_from_yaml(text)


def test_a_plan_of_other_settings_is_refused(write, machine, good):
    text = plan_to_yaml(make_plan(load_recipe(write("one", good)), machine()))
    with pytest.raises(RunError, match=r"another version of recipebox: train\.epochs"):
        plan_from_yaml(text.replace("  epochs: 12", "  epochs: many"))


def test_the_document_names_everything(write, machine, good):
    document = plan_document(make_plan(load_recipe(write("one", good)), machine()))
    assert document["settings"]["train"]["epochs"] == 12
    assert document["profile"] is None


def test_a_mistyped_data_set_is_told_the_right_name(write, machine, good):
    with pytest.raises(DataError, match="did you mean deeppcb"):
        make_plan(load_recipe(write("one", good.replace("deeppcb", "deepcb"))), machine())


@pytest.mark.parametrize(
    ("fallback", "says"),
    [("nope", "cannot be fetched"), ("deepcb", "Did you mean deeppcb?")],
)
def test_a_fallback_that_would_not_help_is_warned_about(write, machine, good, fallback, says):
    text = good.replace("{dataset: deeppcb}", f"{{dataset: deeppcb, fallback: {fallback}}}")
    (warning,) = [w for w in make_plan(load_recipe(write("one", text)), machine()).warnings if "fallback" in w]
    assert says in warning and "one.yaml:1" in warning


def test_a_gpu_profile_on_a_cpu_is_warned_about(write, machine, good):
    loaded = load_recipe(write("one", good + "profiles: {gpu: {train: {epochs: 100}}}\n"))
    assert any("profile `gpu`" in w for w in make_plan(loaded, machine(), profile="gpu").warnings)
    assert not any("profile `gpu`" in w for w in make_plan(loaded, machine("cuda:0")).warnings)


def test_a_warm_up_that_is_cut_is_warned_about(write, machine, good):
    plan = make_plan(load_recipe(write("one", good)), machine(), overrides=parse_set(["train.warmup_epochs=20"]))
    assert any("cut to 11 in a run of 12 epochs" in warning for warning in plan.warnings)


def test_numbers_beyond_reason_are_refused_in_full(write, good):
    with pytest.raises(RecipeError, match=r"at most 1000000000.*\n.*at most 2147483647"):
        load_recipe(write("one", good.replace("epochs: 12", "epochs: 99999999999999999999\n  seed: 2147483648", 1)))
