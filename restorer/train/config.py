"""What to train and how: the TOML recipe as frozen data. Unknown keys are errors."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restorer.degrade import MARKING, Damage, can_mark
from restorer.entry import GENERATE, Duty, Entry, Predict, Sample, Size, card, parse
from restorer.errors import UsageError
from restorer.prepare import Preparation, preparation
from restorer.train.recipes import preset, read_recipe

AUTO = "auto"
"""The output of recipes that leave it open."""


@dataclass(frozen=True)
class Data:
    """Folders below the data root: ``clean`` ones with ``damage``, or a pair ``lq`` and ``gt`` with equal names.

    ``validation`` is a folder of clean pictures (with ``damage``), or one that holds LQ and GT. For a model that takes
    a mask there are those of the pairs too, white where the picture is damaged, their endings free: in ``mask``, by
    default in MASK beside ``gt``, and in MASK in ``validation``.
    """

    clean: tuple[str, ...] = ()
    lq: str | None = None
    gt: str | None = None
    mask: str | None = None
    exclude: tuple[str, ...] = ()  # files, as written below the data root
    damage: tuple[Damage, ...] = ()
    validation: str | None = None
    validation_pictures: int = 12
    validation_crop: int = 256
    validation_sigma: float = 25.0  # noise added for models that begin at a noisy picture, in 8-bit levels
    patch_size: int = 128
    flip: bool = True  # every other crop is mirrored
    rotate: bool = False  # by a right angle or none, and so upside down too
    corrupt: str = "stop"  # at a picture that cannot be read; or "skip" it, and say so
    cache_mb: int = 2048  # for decoded pictures, shared out among the workers

    def __post_init__(self) -> None:
        if self.corrupt not in ("stop", "skip"):
            raise UsageError(f"data: corrupt must be stop or skip, not {self.corrupt!r}.")
        for name, least in (("cache_mb", 0), ("patch_size", 1), ("validation_pictures", 0), ("validation_crop", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"data: {name} must be at least {least}, not {getattr(self, name)}.")
        if (self.lq is None) != (self.gt is None) or bool(self.clean) == bool(self.lq):
            raise UsageError("data: give either clean folders with a damage, or both lq and gt.")
        if self.mask is not None and self.lq is None:
            raise UsageError("data: mask is the folder of the masks of pairs; give lq and gt too, or leave it out.")


@dataclass(frozen=True)
class Optimise:
    """The optimiser and its course: AdamW, a linear warm-up, then a cosine down to ``final_lr`` of ``lr``.

    ``batch_size`` is of one device; a step sees ``grad_accum`` of them on each. ``lr_schedule`` "step" multiplies the
    rate by ``lr_factor`` after each of ``lr_steps``. A ``clip`` or ``max_hours`` of 0 is none.
    """

    steps: int = 80_000
    batch_size: int = 8
    grad_accum: int = 1
    optimiser: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    lr: float = 1e-4
    lr_schedule: str = "cosine"
    warmup: int = 200
    final_lr: float = 0.01
    lr_steps: tuple[int, ...] = ()
    lr_factor: float = 0.5
    weight_decay: float = 1e-4
    clip: float = 1.0
    loss: str = "l1"
    objective: str = "outputs"
    # Times are drawn with a density of t^(time_power - 1): 1 is uniform, more dwells on the noisy, hard end.
    time_power: float = 1.0
    ema_decay: float = 0.999
    ema_every: int = 1
    mixed_precision: str = "no"
    seed: int = 0
    save_every: int = 1000
    val_every: int = 1000
    keep: int = 2  # checkpoints besides the last and the best
    max_hours: float = 0.0
    log: tuple[str, ...] = ("csv",)
    workers: int = 1

    def __post_init__(self) -> None:
        for name, words in (("mixed_precision", PRECISIONS), ("lr_schedule", ("cosine", "step", "constant"))):
            if getattr(self, name) not in words:
                raise UsageError(f"train: {name} must be {' or '.join(words)}, not {getattr(self, name)!r}.")
        for name, least in LEAST.items():
            if not getattr(self, name) >= least:
                raise UsageError(f"train: {name} must be at least {least}, not {getattr(self, name)}.")
        if self.lr_schedule == "step" and not self.lr_steps:
            raise UsageError("train: lr_schedule step needs lr_steps, as in [200000, 400000].")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise UsageError(f"train: betas must be from 0 to below 1, not {list(self.betas)}.")

    @property
    def pictures(self) -> int:
        """How many a device sees in a step."""
        return self.batch_size * self.grad_accum


@dataclass(frozen=True)
class FreshCodec:
    """A codec that is trained first, for so many ``steps``; ``net`` is as a card's ``codec``."""

    net: Mapping[str, Any]
    steps: int = 300_000

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise UsageError(f"fresh_codec: steps must be at least 1, not {self.steps}.")


@dataclass(frozen=True)
class Config:
    """A whole recipe: the model's card before there is a model, the data, and the course of training.

    ``predict.output`` may be "auto": whether the net says res or eps is found out first.
    """

    name: str
    task: str
    method: str
    net: Mapping[str, Any]
    schedule: Mapping[str, Any]
    predict: Predict
    sample: Sample
    data: Data
    train: Optimise = field(default_factory=Optimise)
    license: str = "unknown"
    source: str = "unknown"
    data_note: str = "unknown"
    prepare: str | None = None  # what is done to a degraded picture first, a word of prepare.py
    init: str | None = None  # the model to go on from, what -m takes; None: a fresh net
    codec: str | None = None  # the model whose codec makes latents, what -m takes: the net restores those
    fresh_codec: FreshCodec | None = None  # or the codec that is trained first
    serves: tuple[Duty, ...] | None = None  # the tasks of a net of several, as in the card

    def __post_init__(self) -> None:
        if len({damage.label is None for damage in self.data.damage} | {not self.net.get("classes")}) > 1:
            raise UsageError("data: either every damage has a label and the net has classes, or none has.")
        if self.unconditional and (self.data.damage or self.data.lq or self.data.validation):
            raise UsageError("data: a model that draws new pictures learns from clean ones alone; leave out the rest.")
        if self.prepare is not None:
            self._check_prepare(preparation(self.prepare))
        if self.data.clean and not (self.data.damage or self.sample.begin == "picture" or self.unconditional):
            raise UsageError("data: clean pictures need a damage to learn from; add one, or --degrade rain.")
        self._check_masks()
        if self.codec is not None and self.fresh_codec is not None:
            raise UsageError("codec: either a model's, or a fresh_codec that is trained first; leave out one of them.")
        if self.latents and (self.predict.clip != "none" or self.predict.output == AUTO):
            raise UsageError(
                "codec: values of latents have no bounds, so predict.clip must be none, and predict.output named; not "
                f"{self.predict.clip} and {self.predict.output}."
            )

    def _check_masks(self) -> None:
        if not self.masked:
            if self.data.mask is not None:
                raise UsageError(
                    "data: mask is for a net that is shown one; add mask to predict.input, or leave data.mask out."
                )
            return
        if self.unconditional or self.sample.begin == "picture":
            raise UsageError("predict: a mask is for models that restore what it marks; leave it out of input.")
        for damage in self.data.damage:
            if not can_mark(damage.recipe):
                raise UsageError(
                    f"data: the model takes a mask, and the damage {damage.recipe!r} cannot tell where it is; add one "
                    f"of {', '.join(MARKING)}, or give pairs with masks."
                )

    def _check_prepare(self, prepared: Preparation) -> None:
        if not (prepared.fills or self.data.lq):
            raise UsageError(f"prepare: {self.prepare} is learned from pairs; give lq and gt, or leave it.")
        if prepared.side:
            raise UsageError(f"prepare: {self.prepare} is for a model that is made; train it on crops as they are.")

    @property
    def unconditional(self) -> bool:
        """Whether the model draws new pictures: y is 0 in the net's range, and no picture is degraded."""
        return self.task == GENERATE

    @property
    def masked(self) -> bool:
        """Whether the model takes a mask: its net is shown it, or what it marks is filled."""
        return "mask" in self.predict.input or preparation(self.prepare).fills

    @property
    def latents(self) -> bool:
        """Whether the net restores latents."""
        return self.codec is not None or self.fresh_codec is not None

    def entry(self, multiple: int) -> Entry:
        """The card of the model this recipe makes; ``multiple``: what the net's picture sides must divide by."""
        return Entry(
            name=self.name,
            task=self.task,
            method=self.method,
            net=self.net,
            schedule=self.schedule,
            predict=self.predict,
            sample=self.sample,
            size=Size(multiple=multiple, trained=self.data.patch_size),
            license=self.license,
            source=self.source,
            data=self.data_note,
            prepare=self.prepare,
            serves=self.serves,
        )


def read_config(
    file: Path | None,
    overrides: Sequence[str],
    method: str = "rddm",
    *,
    like: Entry | None = None,
    layout: Sequence[str] = (),
) -> Config:
    """The recipe in ``file``, or the preset of that name, with ``KEY=VALUE`` overrides, later ones winning.

    Without a file, the one that fits the model ``like``, or the built-in one of ``method``. ``layout``: overrides for a
    recipe that names no pictures, before the others. Raises ``UsageError`` naming the file or key.
    """
    data = recipe_of(like) if file is None and like is not None else read_recipe(file or preset(method))
    told = data.get("data", {})
    if not (isinstance(told, dict) and told.keys() & {"clean", "lq", "gt"}):
        overrides = [*layout, *overrides]
    for override in overrides:
        _set(data, override)
    return parse(Config, data, str(file or "recipe"))


def recipe_of(entry: Entry) -> dict[str, Any]:
    """The recipe that trains a model on: what its card says of net and method, and nothing of data."""
    told = card(entry)
    same = ("task", "method", "net", "schedule", "predict", "sample", "prepare")
    objective = {"objective": "matching"} if entry.predict.output == "euler_eps" else {}
    patch = {"patch_size": entry.size.trained} if entry.size.trained else {}
    return {"name": "my-model", **{key: told[key] for key in same if key in told}, "train": objective, "data": patch}


def _set(data: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        raise UsageError(f"--set {override}: expected KEY=VALUE, as in train.lr=2e-4.")
    *tables, last = key.strip().split(".")
    for table in tables:
        data = data.setdefault(table, {})
        if not isinstance(data, dict):
            raise UsageError(f"--set {override}: {table!r} is no table.")
    data[last] = _toml_value(value.strip())


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a text: --set train.loss=l2


BUILT_IN = ("rddm", "irsde")
"""Methods that have a recipe without a file; it is the preset of that name."""

PRECISIONS = ("no", "bf16", "fp16")

LEAST = {
    **dict.fromkeys(("steps", "batch_size", "grad_accum", "save_every", "val_every", "ema_every"), 1),
    **dict.fromkeys(("keep", "max_hours", "clip", "workers", "warmup", "lr"), 0),
}
"""Key of ``Optimise`` -> the least it may be."""
