"""Every Ultralytics internal that recipebox relies on. After an upgrade, these fail first and say what moved."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
import torch

from recipebox.ultralytics_setup import import_ultralytics

import_ultralytics()

from ultralytics.data import augment  # noqa: E402
from ultralytics.data.base import BaseDataset  # noqa: E402
from ultralytics.data.dataset import YOLODataset  # noqa: E402
from ultralytics.engine import trainer as engine  # noqa: E402
from ultralytics.engine.trainer import BaseTrainer  # noqa: E402
from ultralytics.engine.validator import BaseValidator  # noqa: E402
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator  # noqa: E402
from ultralytics.nn.tasks import DetectionModel  # noqa: E402
from ultralytics.utils import nms  # noqa: E402
from ultralytics.utils.loss import E2ELoss, v8DetectionLoss  # noqa: E402
from ultralytics.utils.torch_utils import EarlyStopping, ModelEMA  # noqa: E402


def source(thing: Any) -> str:
    """The code without white space, so that only its order counts."""
    return re.sub(r"\s+", "", inspect.getsource(thing))


def assert_in_order(thing: Any, *parts: str) -> None:
    text, position = source(thing), 0
    for part in parts:
        found = text.find(re.sub(r"\s+", "", part), position)
        assert found >= 0, f"{thing.__qualname__} no longer has `{part}` after the parts before it"
        position = found + 1


def test_loop_events_come_in_the_order_the_trainer_counts_on() -> None:
    assert_in_order(
        BaseTrainer._do_train,
        'self.run_callbacks("on_train_start")',
        "self.optimizer.zero_grad()",
        'self.run_callbacks("on_train_epoch_start")',
        "self.scheduler.step()",
        'self.run_callbacks("on_train_batch_start")',
        "self.accumulate = max(1, int(np.interp(ni, xi, [1, acc0]).round()))",
        "batch = self.preprocess_batch(batch)",
        "self.model(batch)",
        "self.scaler.scale(self.loss).backward()",
        "if ni - last_opt_step >= self.accumulate:",
        "self.optimizer_step()",
        'self.run_callbacks("on_train_batch_end")',
        ".criterion.update()",
        'self.run_callbacks("on_train_epoch_end")',
        "self.validate()",
        "self._handle_nan_recovery(epoch)",
        "self.save_metrics(",
        "self.save_model()",
        'self.run_callbacks("on_fit_epoch_end")',
        "self.final_eval()",
    )


def test_nominal_accumulation_is_read_once_before_the_loop() -> None:
    assert (
        source(BaseTrainer._do_train).count("acc0=self.accumulate") == 2
    )  # the second one after running out of memory
    assert_in_order(BaseTrainer._do_train, "acc0 = self.accumulate", "while True:")


def test_setup_ends_after_the_average_was_copied() -> None:
    assert_in_order(
        BaseTrainer._setup_train,
        "self._build_train_pipeline()",
        "self.validator = self.get_validator()",
        "self.ema = ModelEMA(self.model)",
        "self.stopper, self.stop = EarlyStopping(",
        "self.resume_training(ckpt)",
        "self.scheduler.last_epoch = self.start_epoch - 1",
        'self.run_callbacks("on_pretrain_routine_end")',
    )


def test_running_out_of_memory_rebuilds_the_pipeline() -> None:
    """The trainer turns that second call into an error, because stock would go on with half the batch."""
    assert_in_order(BaseTrainer._do_train, "Reducing to batch=", "self._build_train_pipeline()")


def test_teardown_runs_whatever_happens() -> None:
    assert_in_order(BaseTrainer.train, "try:", "finally:", 'self.run_callbacks("teardown")')


def test_an_optimizer_step_is_what_ours_repeats() -> None:
    """The trainer's own step differs in the norm alone, which stock fixes at 10."""
    assert_in_order(
        BaseTrainer.optimizer_step,
        "self.scaler.unscale_(self.optimizer)",
        "clip_grad_norm_(self.model.parameters(), max_norm=10.0)",
        "self.scaler.step(self.optimizer)",
        "self.scaler.update()",
        "self.optimizer.zero_grad()",
        "self.ema.update(self.model)",
    )
    assert source(BaseTrainer.optimizer_step).count("self.") == 12


def test_warmup_starts_with_one_batch_a_step() -> None:
    assert_in_order(BaseTrainer._do_train, "last_opt_step = -1", "if nw and ni <= nw:")


@pytest.mark.parametrize(("name", "warms_up"), [("SGD", True), ("AdamW", False)])
def test_whose_momentum_is_warmed_up(name: str, warms_up: bool) -> None:
    assert_in_order(BaseTrainer._do_train, 'if "momentum" in x:', "self.args.warmup_momentum")
    trainer = BaseTrainer.__new__(BaseTrainer)
    optimizer = trainer.build_optimizer(torch.nn.Linear(1, 1), name=name, lr=0.1, momentum=0.9, decay=0.0)
    assert ("momentum" in optimizer.param_groups[0]) == warms_up


def test_best_is_decided_by_mean_average_precision() -> None:
    from ultralytics.utils.metrics import Metric

    metric = Metric()
    metric.mean_results = lambda: [0.0, 0.0, 0.3, 0.7]  # type: ignore[method-assign]
    assert metric.fitness() == pytest.approx(0.7)


def test_class_weights_go_from_the_model_into_the_criterion_and_the_average() -> None:
    """The lever lets `cls_pw` compute them, or puts others in their place; and takes them off both networks."""
    assert_in_order(
        BaseTrainer._setup_train,
        "self._build_train_pipeline()",
        "self.set_class_weights()",
        "self.ema = ModelEMA(self.model)",
        'self.run_callbacks("on_pretrain_routine_end")',
    )
    assert_in_order(
        DetectionTrainer.set_class_weights,
        "if self.args.cls_pw == 0.0:",
        "weights = self.compute_class_weights(class_counts)",
        "weights = weights / weights.mean()",
        "model.class_weights = ",
    )
    assert_in_order(DetectionTrainer.get_class_counts, "self.train_loader.dataset.labels")
    assert_in_order(
        v8DetectionLoss.__init__, 'self.class_weights = getattr(model, "class_weights", None)', ".view(1, 1, -1)"
    )
    assert_in_order(
        v8DetectionLoss.get_assigned_targets_and_loss,
        "target_scores_sum = target_scores.sum()",
        "bce_loss = self.bce(pred_scores, target_scores.to(dtype))",
        "bce_loss *= self.class_weights",
        "loss[1] = bce_loss.sum() / target_scores_sum",
    )
    live, average = torch.nn.Linear(1, 1), ModelEMA(torch.nn.Linear(1, 1))
    average.update_attr(live, include=["class_weights"])
    assert not hasattr(average.ema, "class_weights")


def test_criterion_hook() -> None:
    assert_in_order(
        DetectionModel.loss,
        'if getattr(self, "criterion", None) is None:',
        "self.criterion = self.init_criterion()",
        "preds = self.forward(batch",
    )
    assert_in_order(v8DetectionLoss.loss, "return loss * batch_size, loss_detach")


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo11n.yaml"])
def test_training_predictions(name: str) -> None:
    model = DetectionModel(name, nc=3, verbose=False).train()
    predictions = model(torch.zeros(2, 3, 64, 64))
    assert predictions["scores"].shape == (2, 3, 84)
    assert predictions["boxes"].shape == (2, 4 * 16, 84)
    output = model.eval()(torch.zeros(2, 3, 64, 64))
    assert isinstance(output, tuple) and output[0].shape == (2, 7, 84)


def test_training_predictions_of_an_nms_free_head() -> None:
    model = DetectionModel("yolo26n.yaml", nc=3, verbose=False).train()
    predictions = model(torch.zeros(2, 3, 64, 64))
    assert set(predictions) == {"one2many", "one2one"}
    assert predictions["one2one"]["scores"].shape == (2, 3, 84)
    assert model.model[-1].reg_max == 1
    model.args = type("Args", (), {"box": 7.5, "cls": 0.5, "dfl": 1.5, "epochs": 5})()
    criterion = model.init_criterion()
    assert isinstance(criterion, E2ELoss)
    assert not hasattr(criterion, "loss_names")
    assert criterion.one2many.loss_names == ("box_loss", "cls_loss", "l1_loss"), "what validation computes"
    assert (criterion.o2m, criterion.updates) == (0.8, 0)
    criterion.updates = 3
    criterion.update()
    replayed, stepped = criterion.o2m, model.init_criterion()
    for _ in range(4):
        stepped.update()
    assert replayed == stepped.o2m


def test_moving_average() -> None:
    average = ModelEMA(torch.nn.Linear(1, 1))
    average.decay = lambda updates: 0.0
    live = torch.nn.Linear(1, 1)
    average.update(live)
    assert torch.equal(average.ema.weight, live.weight)
    assert_in_order(ModelEMA.update, "self.updates += 1", "d = self.decay(self.updates)")


def test_the_schedule_is_a_function_of_the_epoch_that_we_may_replace() -> None:
    assert_in_order(BaseTrainer._setup_scheduler, "self.lf =", "LambdaLR(self.optimizer, lr_lambda=self.lf)")
    assert_in_order(BaseTrainer._build_train_pipeline, "if self.optimizer is None:", "self._setup_scheduler()")
    assert_in_order(BaseTrainer._do_train, 'x["initial_lr"] * self.lf(epoch)')
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda=lambda epoch: 1.0)
    scheduler.lr_lambdas = [lambda epoch: 0.1]
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo26n.yaml"])
def test_in_training_mode_images_reach_every_batch_norm(name: str) -> None:
    """Both branches of an NMS-free head too: their statistics are estimated anew for SWA."""
    model = DetectionModel(name, nc=3, verbose=False).train()
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    with torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
        model(torch.rand(2, 3, 64, 64))
    assert norms and all(norm.num_batches_tracked == 1 for norm in norms)
    assert all(norm.momentum == 0.03 for norm in norms), "the cards name YOLO's momentum"


def test_early_stopping_state() -> None:
    stopper = EarlyStopping(patience=0)
    assert stopper.patience == float("inf")
    assert {"best_fitness", "best_epoch", "possible_stop", "patience"} == set(vars(stopper))


def test_mosaic_draws_from_the_buffer() -> None:
    assert_in_order(augment.Mosaic.get_indexes, "random.choices(list(self.dataset.buffer), k=self.n - 1)")
    assert_in_order(
        BaseDataset.load_image,
        "self.buffer.append(i)",
        "len(self.buffer) >= self.max_buffer_length",
        "self.buffer.pop(0)",
    )


def test_data_set_hooks() -> None:
    assert_in_order(
        BaseDataset.__init__,
        "self.im_files = self.get_img_files(self.img_path)",
        "self.labels = self.get_labels()",
        "self.buffer = []",
        "self.transforms = self.build_transforms(",
    )
    assert_in_order(BaseDataset.__getitem__, "self.transforms(self.get_image_and_label(index))")
    for name in ("mosaic", "mixup", "cutmix", "copy_paste"):
        assert f"hyp.{name}=0.0" in source(YOLODataset.close_mosaic)
    assert source(YOLODataset.close_mosaic).count("=0.0") == 4, "closing mosaic now closes something else too"


def test_transforms_are_made_for_the_size_and_gains_of_the_moment() -> None:
    """`build_transforms` reads the data set's size and the arguments it is given, nothing else."""
    assert_in_order(YOLODataset.build_transforms, "v8_transforms(self, self.imgsz, hyp)")
    assert_in_order(BaseDataset.load_image, "(self.imgsz, self.imgsz)", "self.ims[i], self.im_hw0[i], self.im_hw[i]")
    assert_in_order(augment.BaseMixTransform.__call__, "if random.uniform(0, 1) > self.p:", "return labels")


def test_mosaic_and_warp_stand_where_a_border_is_put_into_them() -> None:
    assert_in_order(
        augment.v8_transforms,
        "pre_transform = Compose([mosaic, affine])",
        "return Compose([pre_transform, MixUp(dataset, pre_transform=pre_transform",
        "CutMix(dataset, pre_transform=pre_transform",
    )
    assert_in_order(augment.Mosaic.get_params, "# top left", "# top right", "# bottom left", "# bottom right")
    assert_in_order(
        augment.Mosaic.apply_image, "np.full((self.imgsz * 2, self.imgsz * 2", "114", "img4[y1a:y2a, x1a:x2a]"
    )
    parameters = set(inspect.signature(augment.RandomPerspective.__init__).parameters) - {"self"}
    assert parameters == set(vars(augment.RandomPerspective()))
    assert_in_order(augment.RandomPerspective.apply_image, "cv2.warpAffine(img, M[:2], dsize=size, borderValue=(114,")
    collated = YOLODataset.collate_fn([{"img": torch.zeros(1), "border_share": share} for share in (0.1, 0.2)])
    assert list(collated["border_share"]) == [0.1, 0.2]


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo11n.yaml", "yolo26n.yaml"])
def test_the_loss_keeps_nothing_of_a_size(name: str) -> None:
    """Batches of one size leave no trace in the loss of another: grids are made anew."""
    from ultralytics.cfg import get_cfg

    torch.manual_seed(0)
    model = DetectionModel(name, nc=3, verbose=False).train()
    model.args = get_cfg()
    boxes = {"batch_idx": torch.zeros(1), "cls": torch.zeros(1, 1), "bboxes": torch.tensor([[0.5, 0.5, 0.3, 0.3]])}
    large, small = ({"img": torch.rand(2, 3, side, side), **boxes} for side in (96, 64))
    used = model.init_criterion()
    for batch in (large, small, large):
        with torch.no_grad():
            predictions = model(batch["img"])
        fresh = model.init_criterion()
        assert torch.equal(used(predictions, batch)[0], fresh(predictions, batch)[0])


def test_the_validator_is_made_and_suppresses_as_ours() -> None:
    """Ours is stock's but for `max_time_img`."""
    assert_in_order(DetectionTrainer.get_validator, "return yolo.detect.DetectionValidator(")
    assert_in_order(BaseValidator.__call__, "preds = self.postprocess(preds)")
    assert_in_order(
        DetectionValidator.postprocess,
        *("nms.non_max_suppression(", "preds,", "self.args.conf,", "self.args.iou,", "multi_label=True,"),
        *("agnostic=self.args.single_cls or self.args.agnostic_nms,", "max_det=self.args.max_det,"),
        *("end2end=self.end2end,", '{"bboxes": x[:, :4], "conf": x[:, 4], "cls": x[:, 5], "extra": x[:, 6:]}'),
    )
    assert_in_order(nms.non_max_suppression, "time_limit = 2.0 + max_time_img * bs", "> time_limit", "break")


def test_validator_reads_what_the_deployed_views_give() -> None:
    assert_in_order(BaseValidator.get_model, "trainer.ema.ema")
    assert_in_order(BaseValidator.__call__, "if self.training:", "model.end2end = self.args.nms is False")
    assert_in_order(BaseValidator.__call__, "model.loss(batch, preds)[1].items()", "self.loss[k] += v")


def test_reaching_out_is_off() -> None:
    from ultralytics import utils
    from ultralytics.utils import SETTINGS, checks
    from ultralytics.utils.callbacks import base

    assert utils.AUTOINSTALL is False
    assert utils.is_online() is False
    assert SETTINGS["sync"] is False
    assert "recipebox-ultralytics-" in str(checks.USER_CONFIG_DIR)
    assert base.add_integration_callbacks.__module__ == "recipebox.ultralytics_setup"
    assert engine.check_amp(torch.nn.Linear(1, 1)) is False
    assert_in_order(BaseTrainer._setup_train, "check_amp(self.model)")
    assert_in_order(BaseTrainer.__init__, "callbacks.add_integration_callbacks(self)")


@pytest.mark.parametrize("name", ["yolov8n.yaml", "yolo26n.yaml"])
def test_neck_maps_are_in_the_predictions(name: str) -> None:
    """Feature distillation reads them there; the one-to-one branch sees them without gradient."""
    model = DetectionModel(name, nc=3, verbose=False).train()
    head = model.model[-1]
    inputs: list[Any] = []
    head.register_forward_pre_hook(lambda module, arguments: inputs.append(arguments[0]))
    predictions = model(torch.zeros(2, 3, 64, 64))
    dense = predictions.get("one2many", predictions)
    assert all(maps is own for maps, own in zip(dense["feats"], inputs[0], strict=True))
    assert [maps.shape[1] for maps in dense["feats"]] == [level[0].conv.in_channels for level in head.cv2]
    assert all(maps.requires_grad for maps in dense["feats"])
    assert not any(maps.requires_grad for maps in predictions.get("one2one", {}).get("feats", ()))


def test_native_distillation() -> None:
    """What `features: {loss: native}` repeats; tests/techniques/distillation compares the numbers."""
    from ultralytics.nn.distill_model import DistillationModel

    assert_in_order(
        DistillationModel.loss,
        'branch="one2many")["scores"]',
        'branch="one2one")["scores"]',
        ") / 2",
        "p.sigmoid().max(dim=1, keepdim=True).values",
        "self.projector[i](",
        "self.loss_sl2(",
        "* self.dis",
        'loss_distill * batch["img"].shape[0]',
    )


def test_a_backbone_of_torchvision() -> None:
    """yolov8-mobilenetv3.yaml: children of the network one after the other, the input first."""
    from ultralytics.nn.modules import Index, TorchVision

    backbone = TorchVision("mobilenet_v3_small", None, True, 3, True)
    outputs = backbone(torch.zeros(1, 3, 64, 64))
    assert len(outputs) == 13
    assert [tuple(Index(place)(outputs).shape[1:]) for place in (4, 9, 12)] == [(24, 8, 8), (48, 4, 4), (96, 2, 2)]
