"""Where the recipe leaves open what the net says (predict.output = "auto"): finding it out.

The net of it is thrown away: what follows is the run of a recipe that names the output. [RDDM] automatic objective
selection.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

import torch

from restorer.diffusion.losses import AutomaticObjective
from restorer.errors import UsageError
from restorer.load import build_schedule, denoiser
from restorer.train.begin import Start, fresh, make, put_back, saying
from restorer.train.checkpoint import Checkpoint, log_row, save_checkpoint, trim_log
from restorer.train.config import Config
from restorer.train.data import crops_of, crops_remarks, feed
from restorer.train.optimise import Descent, build_optimiser, finite, learning_rate, moved
from restorer.train.progress import Clock, Progress
from restorer.train.team import Team


def choose(
    config: Config, root: Path, run: Path, team: Team, start: Start, clock: Clock
) -> Generator[Progress, None, str | None]:
    """Train a net that says both until it is settled which of them it says better; returns that output.

    None when the run's hours are over first. Raises ``UsageError`` when it is not settled within the recipe's steps, or
    where it cannot be.
    """
    course = config.train
    objective = AutomaticObjective().to(team.device)
    descent, net = _descent(config, team, objective, start)
    crops = crops_of(root, config)
    remarks = crops_remarks(crops, course, team)
    before = put_back(start, descent.optimiser, descent.scaler, net)
    if before:
        objective.share.data.copy_(before.share)
    step, items = (before.step, before.items) if before else (0, 0)
    make(run)
    if team.index == 0:
        trim_log(run, step, choosing=True)
    if objective.output:
        return objective.output

    for batches in feed(crops, course, items, course.steps - step, team):
        step, items = step + 1, items + course.pictures * team.count
        loss = finite(descent.step(batches, step), step)
        # Equal already, where all devices round alike; a team must not part over one that does not.
        objective.share.data.copy_(team.shared(objective.share.data))
        # Official code looks at the share in the next step, before it is moved again: the same.
        chosen, share = objective.output, float(objective.share.detach())
        warnings = (*remarks, *(sentence for batch in batches for sentence in batch.skipped))
        remarks = ()
        late = clock.over() and not chosen
        told = (step, course.steps, loss, learning_rate(course, step), None, clock.lap(), share, chosen)
        progress = Progress(*told, warnings=warnings, stopped=late)
        if team.index == 0:
            log_row(run, progress.row(auto=True))
        if late or step % course.save_every == 0:
            descent.check(batches[0], step)
            states = net.state_dict(), {}, descent.optimiser.state_dict(), descent.scaler.state_dict()
            kept = objective.share.detach().cpu()
            if team.index == 0:
                save_checkpoint(run, Checkpoint(step, items, *states, share=kept), keep=course.keep)
            team.wait()
        yield progress
        if chosen or late:
            return chosen
        clock.go()
    share, threshold = float(objective.share.detach()), objective.THRESHOLD
    raise UsageError(
        f"After {course.steps} steps the residual's share is {share:.4f}; {0.5 + threshold:g} would choose res, "
        f"{0.5 - threshold:g} eps. Name one as predict.output, or raise train.steps or train.lr."
    )


def _descent(
    config: Config, team: Team, objective: AutomaticObjective, start: Start
) -> tuple[Descent, torch.nn.Module]:
    course = config.train
    if course.objective != "outputs":
        raise UsageError(
            f"train: objective {course.objective} is for a net whose output is named; name it in predict.output, or "
            "set train.objective=outputs."
        )
    net, entry = fresh(saying(config, "res"), team.device, resumed=start.found is not None)
    student = denoiser(team.joined(net), build_schedule(config.schedule), entry)
    if not (student.schedule.sigma[1:] > 0).all():
        raise UsageError("predict: output auto needs noise at every time, and this schedule has none at one; name it.")
    # In the net's own optimiser and at its rate, as officially; a decay would pull the share towards eps.
    groups = [{"params": moved(net)}, {"params": [objective.share], "weight_decay": 0.0}]
    optimiser = build_optimiser(course, groups)
    return Descent(team, student, objective, optimiser, course, (objective.share,), config.unconditional), net
