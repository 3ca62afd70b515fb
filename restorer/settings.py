"""How to make a picture: what a user says, filled in by the model's card and checked against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from restorer.diffusion.predict import Denoiser
from restorer.diffusion.process import largest_noise
from restorer.diffusion.samplers import CALLS, GRIDS, SAMPLERS, natural_eta
from restorer.entry import Entry
from restorer.errors import UsageError, unknown
from restorer.readjust import checked_path, parse, readjusted, spelled
from restorer.tiling import Tiling


@dataclass(frozen=True)
class Settings:
    """How to make one picture; what is None comes from the model's card.

    ``sampler`` and ``times`` are keys of SAMPLERS and GRIDS. ``sigma``: standard deviation of the picture's own noise,
    in 8-bit levels, for models that begin at it; None: guessed from the picture. ``alpha_schedule``, ``beta_schedule``:
    words of ``readjust``, as "decreased:0.3". ``path``: (shift, sigma) points to go by instead of times, for
    ``generate`` alone; it has its own steps. ``label``: number of the class to draw, for models that know classes.
    ``tiling``: how a large picture is cut for computing, which changes no more of it than rounding does.
    """

    steps: int | None = None
    eta: float | None = None
    seed: int = 0
    times: str | None = None
    sigma: float | None = None
    sampler: str | None = None
    alpha_schedule: str | None = None
    beta_schedule: str | None = None
    path: tuple[tuple[float, float], ...] | None = None
    label: int | None = None
    tiling: Tiling = field(default_factory=Tiling)


def settle(settings: Settings, entry: Entry, denoiser: Denoiser) -> Settings:
    """The settings with the card's values filled in. Raises ``UsageError`` for one that is out of range or unusable."""
    own, schedule = entry.sample, denoiser.schedule
    steps = own.steps if settings.steps is None else settings.steps
    times = own.times if settings.times is None else settings.times
    sampler = own.sampler if settings.sampler is None else settings.sampler
    path = settings.path
    if path is not None:
        path = checked_path(path, denoiser, entry)
        steps, times = _steps_of_path(path, settings, own.sampler), None
    if path is None and not 1 <= steps <= schedule.T:
        raise UsageError(f"steps must be from 1 to {schedule.T}, the length of the model's schedule; not {steps}.")
    if path is None and times not in GRIDS:
        raise unknown("times", times, list(GRIDS))
    if sampler not in SAMPLERS:
        raise unknown("sampler", sampler, list(SAMPLERS))
    eta = settings.eta
    if eta is None:
        eta = own.eta if sampler == own.sampler else natural_eta(sampler)
    if not 0 <= eta <= 1:
        raise UsageError(f"eta must be from 0 (no fresh noise) to 1 (ancestral), not {eta}.")
    if not 0 <= settings.seed < 2**63:
        raise UsageError(f"seed must be from 0 to 2^63 - 1, not {settings.seed}.")
    _check_label(settings.label, entry)
    words = {
        "alpha_schedule": spelled(parse(settings.alpha_schedule, "--alpha-schedule")),
        "beta_schedule": spelled(parse(settings.beta_schedule, "--beta-schedule")),
    }
    settled = replace(settings, steps=steps, eta=eta, times=times, sampler=sampler, path=path, **words)
    _check_sampler(settled, adjusted(denoiser, entry, settled))
    _check_sigma(settings.sigma, entry, denoiser)
    return settled


def adjusted(denoiser: Denoiser, entry: Entry, settings: Settings) -> Denoiser:
    """``denoiser`` on the schedule, and of the class, that settled settings choose. Raises ``UsageError``.

    A class is told to a net of classes, and to the guide. Without one a net of classes draws the card's ``net.label``,
    and the guide of any other does not pull.
    """
    found = readjusted(denoiser, entry, settings.sampler, settings.alpha_schedule, settings.beta_schedule)
    label = entry.label(settings.label)
    guide = found.guide and replace(found.guide, label=label)
    return replace(found, label=label if entry.net.get("classes") else None, guide=guide)


def states(settings: Settings) -> int:
    """How many states sampling with these settled settings goes through after its start: what progress counts."""
    return settings.steps * (1 if settings.path else CALLS.get(settings.sampler, 1))


def _steps_of_path(path: Sequence[tuple[float, float]], settings: Settings, sampler: str) -> int:
    steps = len(path) - 1
    chosen = {
        "--steps": settings.steps not in (None, steps),
        "--times": settings.times is not None,
        "--sampler": settings.sampler not in (None, sampler),
        "--alpha-schedule": settings.alpha_schedule is not None,
        "--beta-schedule": settings.beta_schedule is not None,
    }
    for option in (option for option, given in chosen.items() if given):
        raise UsageError(f"A path says itself where each of its {steps} steps goes; leave out {option}, or --path.")
    return steps


def _check_sampler(settings: Settings, denoiser: Denoiser) -> None:
    try:
        # Nothing is computed before it is asked for, but what a sampler refuses it refuses here.
        SAMPLERS[settings.sampler](None, denoiser.schedule, None, [denoiser.schedule.T, 0], eta=settings.eta)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _check_label(label: int | None, entry: Entry) -> None:
    if label is None:
        return
    if entry.classes is None:
        raise UsageError(f"Model {entry.name!r} knows no classes; leave out --class.")
    if not 0 <= label < entry.classes:
        raise UsageError(f"class must be from 0 to {entry.classes - 1}, those of {entry.name}; not {label}.")


def _check_sigma(sigma: float | None, entry: Entry, denoiser: Denoiser) -> None:
    if sigma is None:
        return
    if entry.sample.begin != "picture":
        raise UsageError(f"Model {entry.name!r} is not told how much noise there is; leave out --sigma.")
    lo, hi = denoiser.bounds
    largest = 255 / (hi - lo) * float(largest_noise(denoiser.schedule))
    if not 0 < sigma <= largest:
        raise UsageError(
            f"sigma must be above 0 and at most {largest:g}, the most noise that {entry.name} was made for; "
            f"not {sigma:g}."
        )
