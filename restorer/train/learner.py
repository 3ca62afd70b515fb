"""A net in training: the net, the average of its weights, and what moves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from restorer.diffusion.losses import OBJECTIVES, check_objective
from restorer.diffusion.predict import Denoiser
from restorer.entry import Entry
from restorer.errors import UsageError
from restorer.load import build_schedule, denoiser
from restorer.train.begin import fresh
from restorer.train.config import Config
from restorer.train.optimise import Descent, averaging, build_optimiser, moved
from restorer.train.team import Team


@dataclass(frozen=True)
class Learner:
    """A net in training, the average of its weights, and what moves them; ``teacher`` uses the average."""

    config: Config
    team: Team
    entry: Entry
    net: nn.Module
    ema: AveragedModel
    teacher: Denoiser
    descent: Descent

    def states(self) -> tuple[dict[str, Any], ...]:
        """Of net, average, optimiser and scaler, in the order of a ``Checkpoint``."""
        parts = (self.net, self.ema, self.descent.optimiser, self.descent.scaler)
        return tuple(part.state_dict() for part in parts)


def learner(config: Config, team: Team, *, resumed: bool = False, codec: Mapping[str, Tensor] | None = None) -> Learner:
    """As the recipe's seed, or the model of its ``init``, makes it; ``resumed`` and ``codec`` as for ``fresh``.

    Raises ``UsageError`` for a recipe that cannot work.
    """
    course = config.train
    net, entry = fresh(config, team.device, resumed=resumed, codec=codec)
    ema = AveragedModel(net, multi_avg_fn=averaging(course.ema_decay))
    optimiser = build_optimiser(course, moved(net))
    teacher = denoiser(ema.module, build_schedule(config.schedule), entry)
    try:
        check_objective(course.objective, teacher)
    except ValueError as error:
        raise UsageError(f"train: {error}") from error
    student = replace(teacher, net=team.joined(net))
    descent = Descent(team, student, OBJECTIVES[course.objective], optimiser, course, blind=config.unconditional)
    return Learner(config, team, entry, net, ema, teacher, descent)
