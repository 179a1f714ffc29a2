"""The table of proofs: every lever, in a recipe that pulls it, and what a few training steps lose without it.

    python scripts/proof_table.py [--profile smoke] [--page docs/results/levers.md] [--jobs 1]

writes it between the marks `proof:begin` and `proof:end` of the page.

Each row is one lever of one `recipebox prove RECIPE --json`; settings beside a recipe's own are given as `--set`. Exit
code 3 where a lever has no effect, and the table shows it.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recipebox.experiment.proof_text import percent, without_it

REPOSITORY = Path(__file__).parents[1]
RECIPES = REPOSITORY / "recipes"
PLACE = re.compile(r"(<!-- proof:begin -->\n).*(<!-- proof:end -->)", re.DOTALL)
OTHER_SETTINGS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    # recipe, lever, settings: forms of a lever that no recipe pulls
    ("pcb-smoothing", "techniques.label_smoothing.form", ("techniques.label_smoothing.form=binary",)),
    ("pcb-smoothing", "techniques.label_smoothing.schedule", ("techniques.label_smoothing.schedule=linear",)),
    ("pcb-smoothing", "techniques.label_smoothing.off_last", ("techniques.label_smoothing.off_last=1",)),
    ("pcb-smoothing", "techniques.label_smoothing.per_class", ("techniques.label_smoothing.per_class={open: 0.2}",)),
    (
        "pcb-smoothing",
        "techniques.label_smoothing",
        ("techniques.label_smoothing={epsilon: 0, per_class: {open: 0.2}}",),
    ),
    ("pcb-baseline", "techniques.assigner", ("techniques.assigner={topk: 3}",)),
    ("pcb-baseline", "techniques.assigner", ("techniques.assigner={beta: 3}",)),
    ("pcb-baseline", "techniques.anchor_head", ("techniques.anchor_head={count: 2, pos_weight: {obj: 2}}",)),
    ("pcb-baseline", "techniques.class_weights.by", ("techniques.class_weights={by: inverse}",)),
    (
        "pcb-baseline",
        "techniques.class_weights.by",
        ("techniques.class_weights={by: effective_number, beta: 0.99}",),
    ),
    ("pcb-baseline", "techniques.class_weights.pos_weight", ("techniques.class_weights={pos_weight: 2.0}",)),
    ("pcb-baseline", "techniques.clipping", ("techniques.clipping={max_norm: 0.5}",)),
    ("pcb-baseline", "techniques.clipping", ("techniques.clipping={max_norm: off}",)),
    ("pcb-baseline", "techniques.ema", ("techniques.ema={tau: 10, every: 2}",)),
    ("pcb-baseline", "techniques.ema", ("techniques.ema=off",)),
    ("pcb-baseline", "train.box", ("train.box=10",)),
    ("pcb-baseline", "train.cls", ("train.cls=1",)),
    ("pcb-baseline", "train.dfl", ("train.dfl=3",)),
    ("pcb-baseline", "augment.border", ("augment.border=reflect",)),
    ("pcb-baseline", "augment.border", ("augment.border=random",)),
    (
        "pcb-distill",
        "techniques.distillation.features",
        ("techniques.distillation.features={loss: pkd, weight: 3, temperature: null}",),
    ),
    (
        "pcb-distill",
        "techniques.distillation.features",
        ("techniques.distillation.features={loss: mse, weight: 10, temperature: null}",),
    ),
    (
        "pcb-distill",
        "techniques.distillation.features",
        ("techniques.distillation.features={loss: native, weight: 6, temperature: null}",),
    ),
    (
        "pcb-distill",
        "techniques.distillation.logits.temperature_end",
        ("techniques.distillation.logits.temperature_end=4",),
    ),
    ("pcb-distill", "techniques.distillation.box.weight_end", ("techniques.distillation.box.weight_end=0.1",)),
)


def prove(recipe: str, profile: str, *more: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "recipebox.cli", "prove", recipe, "--profile", profile, "--json", *more]
    print("proving", recipe, *more, file=sys.stderr)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    document: dict[str, Any] = json.loads(done.stdout)
    if "error" in document:
        raise SystemExit(f"{recipe}: {document['error']}")
    return document


def _alone(key: str, settings: tuple[str, ...]) -> list[str]:
    return ["--only", key, *(part for one in settings for part in ("--set", one))]


def row(recipe: str, lever: dict[str, Any], settings: tuple[str, ...]) -> str:
    effect = lever.get("effect", {})
    given = ", ".join(settings) or json.dumps(lever["value"])
    zero = ", ".join(json.dumps(value) for value in without_it(lever["lever"], lever["zero"]))
    cosine, dead = effect.get("cosine"), "NO EFFECT" if lever.get("met", True) else "NOT MET"

    def share(key: str) -> str:
        return percent(effect[key]) if key in effect else "-"

    cells = [
        f"`{lever['lever']}`", recipe, f"`{given}`", f"`{zero}`", str(lever["epoch"]),
        *(share(key) for key in ("images", "loss", "gradient")),
        f"{cosine:.4f}" if cosine is not None else "-",
        *(share(key) for key in ("weights", "average")),
        ", ".join(lever.get("above_noise", ())) if lever["acts"] else dead,
    ]  # fmt: skip
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--profile", default="smoke")
    parser.add_argument("--page", type=Path, default=REPOSITORY / "docs" / "results" / "levers.md")
    parser.add_argument("--jobs", type=int, default=1, help="proofs at a time (with OMP_NUM_THREADS=1, one a core)")
    given = parser.parse_args()
    profile, page = given.profile, given.page.read_text()
    if not PLACE.search(page):
        parser.error(f"{given.page} has no place for the table: <!-- proof:begin --> ... <!-- proof:end -->")
    rows: list[str] = []
    verdicts: list[str] = []
    dead = False
    recipes = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    with ThreadPoolExecutor(given.jobs) as pool:
        whole = pool.map(lambda recipe: prove(recipe, profile), recipes)
        single = pool.map(lambda one: prove(one[0], profile, *_alone(one[1], one[2])), OTHER_SETTINGS)
    for recipe, proof in zip(recipes, whole, strict=True):
        levers = proof["levers"]
        verdicts.append(
            f"| {recipe} | {sum(one['acts'] for one in levers)} of {len(levers)} | {proof['seconds']:.0f} s |"
        )
        rows += [
            row(recipe, lever, ())
            for lever in levers
            if not lever["lever"].startswith("train.") or recipe == "pcb-baseline"
        ]
        dead |= not proof["passed"]
    for (recipe, _, settings), proof in zip(OTHER_SETTINGS, single, strict=True):
        rows += [row(recipe, lever, settings) for lever in proof["levers"]]
        dead |= not proof["passed"]
    section = SECTION.format(date=datetime.now(UTC).date(), machine=platform.machine(), profile=profile,
                             verdicts="\n".join(verdicts), rows="\n".join(sorted(rows)))  # fmt: skip
    given.page.write_text(PLACE.sub(lambda marks: marks[1] + section + marks[2], page))
    return 3 if dead else 0


SECTION = """\
{date}, `python scripts/proof_table.py --profile {profile}` on {machine}, the seeds of the recipes.
Written by that script.

| recipe | levers that act | time |
|---|---:|---:|
{verdicts}

What a few training steps on fixed batches lose when the lever is set to its stock or zero value: the share by which
images, loss, gradient, weights and averaged weights differ, and the cosine between the gradients. A dash: not compared,
because the images differ already or no step was made. The last column names what lies above the noise of a repeated
run; [proof.md](../proof.md) says what counts. Optimizer settings are shown for pcb-baseline only, the others have the
same.

| lever | recipe | is | without | epoch | images | loss | gradient | cosine | weights | average | above noise |
|---|---|---|---|---:|---:|---:|---:|---:|---:|---:|---|
{rows}
"""

if __name__ == "__main__":
    sys.exit(main())
