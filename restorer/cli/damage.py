"""Which model restores, and with what known damage: the words of ``--operator``, or what a task means by itself."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from restorer.entry import GENERATE, TASKS, default_model, embedded, read_entry
from restorer.errors import ModelError, UsageError, unknown

if TYPE_CHECKING:
    from restorer.restore import Restorer
    from restorer.zeroshot import ZeroShot

ENLARGEMENT = 4.0
"""Without --scale."""


def load(
    model: str | None,
    task: str | None,
    device: str,
    dtype: str,
    *,
    scale: float | None,
    known: bool,
    compile: bool = False,
) -> tuple["Restorer", str | None]:
    """The model, and the task if that is for a prior to do. Raises ``UsageError`` where model and task disagree.

    The task is the model's own unless it is named. What is ``known`` of the damage is for a prior; so is a task that no
    trained model serves, or not at that scale, if it can say what the damage is.
    """
    from restorer.restore import Restorer

    if task is not None and task not in TASKS:
        raise unknown("task", task, list(TASKS))
    if model is None and (known or (task in IMPLIED and not _is_served(task, scale))):
        model = default_model(GENERATE)
    restorer = Restorer.from_pretrained(model, task=task, scale=scale, device=device, dtype=dtype, compile=compile)
    own = restorer.entry.task
    if known or (own == GENERATE and task in IMPLIED):
        return restorer, task
    if task not in (None, own):
        raise UsageError(f"Model {restorer.entry.name!r} is for {own}, not {task}; leave out --task or --model.")
    return restorer, None


def is_known(task: str | None, operator: str | None, *, simulate: bool, **flags: Any) -> bool:
    """Whether the words of a command say what the damage is, or how a prior is to undo what the task means."""
    about = any(flags[name] is not None for name in ("method", "travel_length", "travel_repeat", "windows"))
    return operator is not None or (task in IMPLIED and (about or simulate))


def to_fetch(model: str | None) -> str | None:
    """What a model of the Hub would have to send before it runs here; None for one that is here. Asks the Hub."""
    if model is None or model in embedded() or Path(model).exists():
        return None
    from restorer.hub import address, listed
    from restorer.hub.fetching import bill_of

    if listed(model) is None and address(model) is None:
        return None  # loading it says what is wrong
    owed = bill_of(model)
    missing = [size for _, size, here in owed.files if not here]
    if not missing:
        return None
    size = "?" if None in missing else f"{sum(missing) / 1e6:.1f}"
    return f"{model} is not here: {size} MB to fetch. Which pictures are done already is known only with it."


def _is_served(task: str, scale: float | None) -> bool:
    """Whether a trained model that comes with restorer does it, and at that scale."""
    try:
        entry = read_entry(embedded()[default_model(task)] / "config.json")
        entry.serving(task, scale)
    except (ModelError, UsageError):
        return False
    return True


def known_damage(
    task: str | None, operator: str | None, scale: float | None, *, simulate: bool, **flags: Any
) -> "ZeroShot | None":
    """What is known of the damage, or None for a trained model; ``flags``: fields of ``ZeroShot``, None where not said.

    ``task``: what a prior is to do. Raises ``UsageError`` for flags that a trained model has no use for.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    if operator is None and task is None:
        also = ("sigma", "tile", "overlap")  # mean something to trained models, too
        named = [*(["simulate"] if simulate else []), *(name for name in given if name not in also)]
        for name in named:
            flag = name.replace("_", "-")
            raise UsageError(f"--{flag} is for zero-shot restoration; name the damage too, as --operator sr:4.")
        return None
    from restorer.zeroshot import ZeroShot

    if operator is not None and scale is not None:
        raise UsageError(f"{operator!r} says itself what is enlarged; leave out --scale, or --operator.")
    return ZeroShot(operator or IMPLIED[task](scale), simulate=simulate, **given)


def side_of_windows(text: str | None) -> int | None:
    """``--tile`` as a number: 0 for off, None for auto. Raises ``UsageError``."""
    if text in (None, "auto"):
        return None
    if text == "off":
        return 0
    if not text.isdecimal():
        raise UsageError(f"--tile is auto, off, or a number of pixels, not {text!r}.")
    return int(text)


def _enlarged(scale: float | None) -> str:
    factor = ENLARGEMENT if scale is None else scale
    if not factor.is_integer():
        raise UsageError(f"A prior enlarges by a whole number, not {scale:g}; use --scale {round(factor)}.")
    return f"sr:{factor:.0f}"


def _whole(word: str) -> Callable[[float | None], str]:
    def operator(scale: float | None) -> str:
        if scale is not None:
            raise UsageError("--scale is for enlarging; leave it out.")
        return word

    return operator


IMPLIED: dict[str, Callable[[float | None], str]] = {
    "upscale": _enlarged,
    "inpaint": _whole("mask"),
    "colorize": _whole("gray"),
}
"""Task -> the operator that it means, of --scale."""
