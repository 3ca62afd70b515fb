"""What to train and how: the TOML recipe as frozen data. Unknown keys are errors."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restorer.degrade import Damage
from restorer.entry import GENERATE, Duty, Entry, Predict, Sample, Size, parse
from restorer.errors import UsageError


@dataclass(frozen=True)
class Data:
    """Folders below the data root: ``clean`` ones with ``damage``, or a pair ``lq`` and ``gt`` with equal names.

    ``validation`` is a folder of clean pictures (with ``damage``), or one that holds LQ and GT.
    """

    clean: tuple[str, ...] = ()
    lq: str | None = None
    gt: str | None = None
    exclude: tuple[str, ...] = ()  # files, as written below the data root
    damage: tuple[Damage, ...] = ()
    validation: str | None = None
    validation_pictures: int = 12
    validation_crop: int = 256
    validation_sigma: float = 25.0  # noise added for models that begin at a noisy picture, in 8-bit levels
    patch_size: int = 128

    def __post_init__(self) -> None:
        if (self.lq is None) != (self.gt is None) or bool(self.clean) == bool(self.lq):
            raise UsageError("data: give either clean folders with a damage, or both lq and gt.")


@dataclass(frozen=True)
class Optimise:
    """The optimiser and its course: AdamW, a linear warm-up, then a cosine down to ``final_lr`` of ``lr``."""

    steps: int = 80_000
    batch_size: int = 8
    lr: float = 1e-4
    warmup: int = 200
    final_lr: float = 0.01
    weight_decay: float = 1e-4
    clip: float = 1.0
    loss: str = "l1"
    objective: str = "outputs"
    # Times are drawn with a density of t^(time_power - 1): 1 is uniform, more dwells on the noisy, hard end.
    time_power: float = 1.0
    ema_decay: float = 0.999
    mixed_precision: str = "no"
    seed: int = 0
    save_every: int = 1000
    val_every: int = 1000
    workers: int = 1

    def __post_init__(self) -> None:
        if self.mixed_precision not in ("no", "bf16"):
            raise UsageError(f"train: mixed_precision must be no or bf16, not {self.mixed_precision!r}.")
        for name in ("steps", "batch_size", "save_every", "val_every"):
            if getattr(self, name) < 1:
                raise UsageError(f"train: {name} must be at least 1, not {getattr(self, name)}.")


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
    serves: tuple[Duty, ...] | None = None

    def __post_init__(self) -> None:
        if len({damage.label is None for damage in self.data.damage} | {not self.net.get("classes")}) > 1:
            raise UsageError("data: either every damage has a label and the net has classes, or none has.")
        if self.unconditional and (self.data.damage or self.data.lq or self.data.validation):
            raise UsageError("data: a model that draws new pictures learns from clean ones alone; leave out the rest.")
        if self.data.clean and not (self.data.damage or self.sample.begin == "picture" or self.unconditional):
            raise UsageError("data: clean pictures need a damage to learn from; add one, or --degrade rain.")

    @property
    def unconditional(self) -> bool:
        """Whether the model draws new pictures: y is 0 in the net's range, and no picture is degraded."""
        return self.task == GENERATE

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
            serves=self.serves,
        )


def read_config(file: Path | None, overrides: Sequence[str], method: str = "rddm") -> Config:
    """The recipe in ``file`` (None: the built-in one of ``method``) with ``KEY=VALUE`` overrides, later ones winning.

    Raises ``UsageError`` naming the file or key.
    """
    try:
        data = tomllib.loads(file.read_text(encoding="utf-8") if file else BUILT_IN[method])
    except OSError as error:
        raise UsageError(f"{file}: cannot read the recipe: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"{file}: not TOML: {error}.") from error
    for override in overrides:
        _set(data, override)
    return parse(Config, data, str(file or "recipe"))


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


BUILT_IN: dict[str, str] = {
    "rddm": """
name = "my-model"
task = "derain"
method = "rddm"
net = { arch = "plain_unet" }
schedule = { kind = "rddm", sum_scale = 0.01 }
predict = { output = "res" }
sample = { sampler = "rddm", steps = 5 }
[data]
""",
    # The official schedule and objective; read as what it is, so that any sampler may follow.
    "irsde": """
name = "my-model"
task = "derain"
method = "irsde"
net = { arch = "plain_unet" }
schedule = { kind = "irsde", T = 100, theta = "cosine", max_sigma = 10.0, eps = 0.005 }
predict = { output = "euler_eps", input = ["x-y", "y"], time = "t", range = [0.0, 1.0], clip = "none" }
sample = { sampler = "ode-2", steps = 10, start = 0.0392156862745098 }
train = { objective = "matching" }
[data]
""",
}
"""Method -> the recipe without a file."""
