"""A model's card as frozen data: config.json becomes an ``Entry``; unknown keys are errors. stdlib only.

``restorer models list`` reads cards without loading torch, so nothing heavy may be imported here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from restorer.errors import ModelError, UsageError, unknown

T = TypeVar("T")
_hints = cache(get_type_hints)  # a card has many tables of one kind

CARD_VERSION = 1

GENERATE = "generate"
"""The task of models that draw pictures from noise alone: their y is 0 in the net's range."""

TASKS: dict[str, str] = {
    "derain": "derained",
    "dehaze": "dehazed",
    "deblur": "deblurred",
    "denoise": "denoised",
    "deshadow": "deshadowed",
    "enhance": "enhanced",
    "dejpeg": "dejpegged",
    "upscale": "upscaled",
    "inpaint": "inpainted",
    "colorize": "colorized",
    "translate": "translated",
    GENERATE: "generated",
}
"""Task -> the participle that names its outputs: photo_derained.jpg."""


@dataclass(frozen=True)
class Predict:
    """How the net is used: the keys of OUTPUTS and TIMES, what it is fed, its range and clipping."""

    output: str
    input: tuple[str, ...] = ("x", "y")
    time: str = "index"
    range: tuple[float, float] = (-1.0, 1.0)
    clip: str = "range"

    def __post_init__(self) -> None:
        lo, hi = self.range
        if not lo < hi:
            raise UsageError(f"predict: range must rise, not go from {lo} to {hi}.")


@dataclass(frozen=True)
class Sample:
    """How the model draws unless told otherwise: keys of SAMPLERS and (``times``) GRIDS.

    ``start``: size of the noise at the start, where it is not the schedule's at T. ``begin``: "noise" at t = T, or
    "picture": the degraded picture as it is, at the time whose noise is the picture's own.
    """

    sampler: str
    steps: int
    eta: float = 0.0
    times: str = "rddm"
    start: float | None = None
    begin: str = "noise"

    def __post_init__(self) -> None:
        if self.begin not in ("noise", "picture"):
            raise UsageError(f"sample: begin must be noise or picture, not {self.begin!r}.")
        if self.begin == "picture" and self.start is not None:
            raise UsageError(
                "sample: start is the size of noise to begin with; a model that begins at the picture has none."
            )
        if self.start is not None and not self.start > 0:
            raise UsageError(f"sample: start must be above 0, not {self.start}.")
        if self.steps < 1 or not 0 <= self.eta <= 1:
            raise UsageError(f"sample: steps must be 1 or more and eta from 0 to 1, not {self.steps} and {self.eta}.")


@dataclass(frozen=True)
class Size:
    """Pixels: sides are padded to ``multiple``; below ``minimum`` a picture is refused; crops it was ``trained`` on."""

    multiple: int = 1
    minimum: int = 8
    trained: int | None = None

    def __post_init__(self) -> None:
        if self.multiple < 1 or self.minimum < 1:
            raise UsageError(f"size: multiple and minimum must be 1 or more, not {self.multiple} and {self.minimum}.")


@dataclass(frozen=True)
class Weights:
    """The file beside the card, and the proof that it is the right one."""

    file: str
    sha256: str
    bytes: int
    dtype: str


@dataclass(frozen=True)
class Expect:
    """A measured score: on which pictures, of what, with which settings.

    ``set``: "test" is the test picture in the model's folder; ``operator``: the damage that a prior is told of it.
    ``seconds_per_megapixel``: how long restoring took, by megapixels of the result, on ``machine``, which says the
    precision too; both or neither.
    """

    set: str
    metric: str
    value: float
    steps: int
    seed: int = 0
    operator: str | None = None
    seconds_per_megapixel: float | None = None
    machine: str | None = None

    def __post_init__(self) -> None:
        seconds = self.seconds_per_megapixel
        if (seconds is None) != (not self.machine):
            raise UsageError("expect: seconds_per_megapixel and machine go together; say both, or neither.")
        if seconds is not None and not 0 < seconds < float("inf"):
            raise UsageError(f"expect: seconds_per_megapixel must be a number above 0, not {seconds}.")

    @property
    def speed(self) -> str | None:
        """How fast it was, in words."""
        if self.seconds_per_megapixel is None:
            return None
        return f"{self.seconds_per_megapixel:g} s a megapixel ({self.machine})"


@dataclass(frozen=True)
class Duty:
    """One of several tasks that a net serves, told which by its ``label``; what it does not say is as in the card.

    ``prepare``, ``sample`` and ``expect``: as of ``Entry``, of this task alone.
    """

    task: str
    label: int
    prepare: str | None = None
    sample: Sample | None = None
    expect: tuple[Expect, ...] = field(default=())

    def __post_init__(self) -> None:
        if self.task not in TASKS or self.task == GENERATE:
            raise unknown("task", self.task, [task for task in TASKS if task != GENERATE])

    @property
    def scale(self) -> int:
        """How many times as wide and high the picture becomes."""
        return enlargement(self.prepare)


def enlargement(prepare: str | None) -> int:
    """How many times as wide and high a picture becomes, of a card's ``prepare``; it is checked where it is used."""
    name, _, number = (prepare or "").partition(":")
    return int(number) if name.startswith("enlarge") and number.isdecimal() else 1


@dataclass(frozen=True)
class Entry:
    """Everything needed to run a model, and what is known of it. ``net`` and ``schedule`` are checked when built.

    ``codec``: the net between pictures and latents, for a model that restores latents; like ``net``. Its weights are in
    the same file, their names behind ``codec.``. ``prepare``: what is done to a picture first, a word of
    ``prepare.py``. ``guide``: the classifier that guides a model that draws, like ``net``, and the ``scale`` of its
    pull, 1 unless said; its weights are behind ``guide.``. ``serves``: the tasks of a net of several, ``task`` first;
    see ``serving``.
    """

    name: str
    task: str
    method: str
    net: Mapping[str, Any]
    schedule: Mapping[str, Any]
    predict: Predict
    sample: Sample
    size: Size
    license: str
    source: str
    data: str
    weights: Weights | None = None
    expect: tuple[Expect, ...] = field(default=())
    codec: Mapping[str, Any] | None = None
    prepare: str | None = None
    guide: Mapping[str, Any] | None = None
    serves: tuple[Duty, ...] | None = None
    restorer: int = CARD_VERSION

    def __post_init__(self) -> None:
        if self.task not in TASKS:
            raise unknown("task", self.task, list(TASKS))
        self._check_guide()
        self._check_serves()
        if self.codec is None:
            return
        if self.task == GENERATE or "mask" in self.predict.input or self.predict.range != (0.0, 1.0):
            raise UsageError(
                "codec: a model of latents restores pictures, is shown no mask, and has the range [0, 1]; not "
                f"{self.task}, {','.join(self.predict.input)}, {list(self.predict.range)}."
            )

    @property
    def classes(self) -> int | None:
        """How many classes the net is told or the guide knows; None for a model without."""
        return next((told["classes"] for told in (self.net, self.guide or {}) if told.get("classes")), None)

    def label(self, asked: int | None) -> int | None:
        """The class that is drawn: the one ``asked`` for, else the one that a net of classes is told by the card."""
        return self.net.get("label", 0) if asked is None and self.net.get("classes") else asked

    @property
    def tasks(self) -> tuple[str, ...]:
        """What the model is for."""
        return tuple(dict.fromkeys([self.task, *(duty.task for duty in self.serves or ())]))

    def serving(self, task: str, scale: float | None = None) -> Entry:
        """The card of one of the model's tasks; of those that enlarge the one by ``scale``, or else the first.

        Raises ``UsageError`` for a task, or a scale, that is none of them.
        """
        if task not in self.tasks:
            raise UsageError(f"Model {self.name!r} is for {', '.join(self.tasks)}, not {task}; name another model.")
        duties = [duty for duty in self.serves or () if duty.task == task]
        if not duties:
            return self
        fitting = [duty for duty in duties if scale in (None, duty.scale)]
        if not fitting:
            scales = " or ".join(str(duty.scale) for duty in duties)
            raise UsageError(f"Model {self.name!r} enlarges by {scales}, not {scale:g}; use one of them as --scale.")
        duty = fitting[0]
        own = {"sample": duty.sample or self.sample, "prepare": duty.prepare, "expect": duty.expect or self.expect}
        return replace(self, task=task, net={**self.net, "label": duty.label}, **own)

    def _check_serves(self) -> None:
        if not self.serves:
            return
        classes = self.net.get("classes")
        if type(classes) is not int or any(not 0 <= duty.label < classes for duty in self.serves):
            raise UsageError(f"serves: labels are those of a net of classes, from 0; this net has {classes}.")

    def _check_guide(self) -> None:
        if self.guide is None:
            return
        if self.task != GENERATE:
            raise UsageError(f"guide: a classifier guides models that draw, of the task {GENERATE}; not {self.task}.")
        classes, scale = self.guide.get("classes"), self.guide.get("scale", 1.0)
        if type(classes) is not int:
            raise UsageError(f"guide: classes must say how many it knows, a whole number, not {classes!r}.")
        if type(scale) not in (int, float) or not 0 <= scale < float("inf"):
            raise UsageError(f"guide: scale must be a number from 0 up, not {scale!r}.")


def read_entry(file: Path) -> Entry:
    """The card in ``file``. Raises ``ModelError`` when it is not there or not a card."""
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{file}: cannot read the model's card: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file}: the model's card is no JSON: {error}.") from error
    return parse_entry(data, str(file))


def parse_entry(data: object, where: str) -> Entry:
    """A card from decoded JSON; ``where`` names it in errors. Raises ``ModelError``."""
    # Before the keys: those of a later version are unknown here.
    version = data.get("restorer", CARD_VERSION) if isinstance(data, Mapping) else CARD_VERSION
    if version != CARD_VERSION:
        raise ModelError(f"{where}: a card of version {version}; this restorer reads {CARD_VERSION}. Update restorer.")
    try:
        return parse(Entry, data, where)
    except UsageError as error:
        raise ModelError(str(error)) from error


def parse(cls: type[T], data: object, where: str) -> T:
    """A frozen dataclass from JSON or TOML data, checked key by key.

    Raises ``UsageError`` naming the key: unknown (with the nearest known one), missing, or of the wrong type.
    """
    if not isinstance(data, Mapping):
        raise UsageError(f"{where}: expected a table of keys, found {type(data).__name__}.")
    known = {f.name: f for f in fields(cls)}
    for key in data:
        if key not in known:
            raise UsageError(f"{where}: {unknown('key', str(key), list(known))}")
    missing = [n for n, f in known.items() if n not in data and f.default is MISSING and f.default_factory is MISSING]
    if missing:
        raise UsageError(f"{where}: {missing[0]!r} is missing.")
    hints = _hints(cls)
    return cls(**{key: _value(hints[key], value, f"{where}: {key}") for key, value in data.items()})


def _value(wanted: Any, value: object, where: str) -> Any:
    """``value`` as the type ``wanted``; JSON has no tuples, and writes 1.0 as 1."""
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin is UnionType:
        return None if value is None else _value(next(t for t in inner if t is not NoneType), value, where)
    if is_dataclass(wanted):
        return parse(wanted, value, where)
    if origin is tuple and isinstance(value, list | tuple):
        each = inner[:1] * len(value) if inner[1:] == (...,) else inner
        if len(each) == len(value):
            return tuple(_value(t, v, where) for t, v in zip(each, value, strict=True))
    if origin is Mapping and isinstance(value, Mapping):
        return dict(value)
    if wanted is float and type(value) is int:
        return float(value)
    if isinstance(wanted, type) and type(value) is wanted:
        return value
    raise UsageError(f"{where}: {value!r} is not {_TYPE_NAMES.get(wanted, 'a list of the right length')}.")


_TYPE_NAMES: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Mapping[str, Any]: "a table",
}


def card(entry: Entry) -> dict[str, Any]:
    """The entry as config.json holds it; what is unknown is left out."""
    return _without_none({"restorer": entry.restorer, **asdict(entry)})


def _without_none(data: Any) -> Any:
    if isinstance(data, list | tuple):
        return [_without_none(each) for each in data]
    return {k: _without_none(v) for k, v in data.items() if v is not None} if isinstance(data, dict) else data


def hash_file(file: Path) -> str:
    """sha256 of a file, in hex. Raises ``OSError``."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def models_folder() -> Path:
    """The models that come with restorer: ``restorer/_models`` in an installed wheel, else ``models`` beside it."""
    here = Path(__file__).parent
    packed = here / "_models"
    return packed if packed.is_dir() else here.parent / "models"


def embedded() -> dict[str, Path]:
    """Name -> folder of the models that come with restorer, in order of name."""
    return {file.parent.name: file.parent for file in sorted(models_folder().glob("*/config.json"))}


def default_model(task: str) -> str:
    """The name of the model that serves ``task`` when none is asked for. Raises ``ModelError`` where there is none."""
    if task not in TASKS:
        raise unknown("task", task, list(TASKS))
    for name, folder in embedded().items():
        if task in read_entry(folder / "config.json").tasks:
            return name
    raise ModelError(f"No model that comes with restorer serves the task {task!r}; name one with --model.")
