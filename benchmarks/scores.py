"""The score table of all models: every task they serve, on every set that fits it, before and after.

    python benchmarks/scores.py DATA [--models NAME ...] [--sets NAME ...] [--steps N ...] [--out FILE.json]
    python benchmarks/scores.py --write FILE.json

DATA holds eval_clean/<set>/, whose pictures are damaged here (picture i with seed i, 8-bit levels but where the noise
is told), and eval_pairs/<set>/{input,target}/. PSNR and SSIM over RGB of the 8-bit pictures that would be written. A
prior is told the exact mask, and shown centres of 256 x 256 of some pictures. Time is on the CPU, of restoring alone,
for a megapixel of the result.

Rows are printed as they come. ``--out`` keeps them after each; rows of an earlier run stay there unless they are
measured again. ``--write`` puts tables into docs/scores.md, the models' README.md and README.md, between
<!-- scores --> and <!-- /scores --> and nowhere else; and into the models' config.json how long each score there
took. SHA256SUMS is renewed for these files of a model alone.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean

import torch
from score_pages import OF_MODEL, Row, header, line, put_all
from score_sets import ALL_SETS, Pair, Score, Test, centre, files_of, fitting, made, pair_of, score, served, sets_of
from torch import Tensor

from restorer import Restorer
from restorer.cli.machine import cpu_line
from restorer.device import dtype_name
from restorer.entry import GENERATE, embedded, enlargement
from restorer.errors import RestorerError, UsageError, unknown
from restorer.images import read
from restorer.images.atomic import write_bytes
from restorer.load import find
from restorer.record import json_score
from restorer.settings import Settings
from restorer.zeroshot import STEPS, ZeroShot, reconstruct

ROOT = Path(__file__).parents[1]
PRIOR_PICTURES = 9
WARM = 64
"""Side of a picture that is restored before the clock runs."""


@dataclass(frozen=True)
class Trial:
    """A model at one of its tasks, put to one test; ``steps`` None: as many as the card says."""

    task: str
    scale: int
    restorer: Restorer
    test: Test
    steps: int | None

    def restore(self, pair: Pair) -> Tensor:
        """What the model makes of the damaged picture."""
        if self.restorer.entry.task == GENERATE:
            return reconstruct(self.restorer, pair.damaged, Settings(self.steps), ZeroShot("mask"), mask=_three(pair))
        mask = _three(pair) if self.test.holes and self.restorer.takes_mask else None
        return self.restorer.restore(pair.damaged, Settings(self.steps, sigma=self.test.sigma), mask=mask)

    def warm(self, pair: Pair) -> None:
        """Restore a corner, since the first picture takes the longest."""
        corner = (..., slice(WARM), slice(WARM))
        mask = None if pair.mask is None else pair.mask[corner]
        self.restore(pair._replace(damaged=pair.damaged[corner], mask=mask))


def _three(pair: Pair) -> Tensor:
    return pair.mask.expand_as(pair.damaged)


def trials(model: str, options: argparse.Namespace) -> Iterator[Trial]:
    """All that fits a model, task after task. What cannot be measured is told on standard error."""
    for task, entry in served(find(model).entry):
        tests = [test for test in fitting(task, entry) if sets_of(test, options.sets)]
        if not tests:
            _tell(f"{model}: no set fits {task}.")
            continue
        scale = enlargement(entry.prepare)
        own = None if entry.task == GENERATE else task
        restorer = Restorer.from_pretrained(model, task=own, scale=scale, device="cpu", dtype=options.dtype)
        for test in tests:
            asked = _not_enlarging(restorer) if test.bare else restorer
            yield from (Trial(task, scale, asked, test, steps) for steps in options.steps or [None])


def _not_enlarging(restorer: Restorer) -> Restorer:
    found = restorer.found
    return replace(restorer, found=found._replace(entry=replace(found.entry, prepare=None)))


def measured(trial: Trial, options: argparse.Namespace) -> Iterator[Row]:
    """A row of each set. One that fails is told on standard error."""
    for name, pairs in _pictures(trial, options):
        try:
            yield _row(trial, name, pairs)
        except RestorerError as error:
            _tell(f"{trial.restorer.entry.name}, {trial.test.name}, {name}: left out: {error}")


def _pictures(trial: Trial, options: argparse.Namespace) -> Iterator[tuple[str, Iterable[Pair]]]:
    """(set, its pairs); for a prior centres of a few pictures of all sets, under one name."""
    test, found = trial.test, {}
    for name in sets_of(test, options.sets):
        files = files_of(options.data, test, name)[: options.limit]
        if files:
            found[name] = files
        else:
            _tell(f"{name}: no such set in {options.data}; left out.")
    if trial.restorer.entry.task != GENERATE:
        for name, files in found.items():
            yield name, (pair_of(file, test, i) for i, file in enumerate(files))
        return
    files = [file for some in found.values() for file in some]
    chosen = files[:: max(1, -(-len(files) // options.prior_pictures))]
    if chosen:
        pairs = (made(file.name, centre(read(file).pixels), test, i) for i, file in enumerate(chosen))
        yield f"centres of {len(chosen)} of {len(files)}: {', '.join(found)}", pairs


def _row(trial: Trial, name: str, pairs: Iterable[Pair]) -> Row:
    entry, test = trial.restorer.entry, trial.test
    pictures, pixels = [], 0
    for pair in pairs:
        if not pictures:
            trial.warm(pair)
        started = time.perf_counter()
        restored = trial.restore(pair)
        seconds = time.perf_counter() - started
        pixels += restored.shape[-1] * restored.shape[-2]
        pictures.append((pair.name, score(pair.damaged, pair, test), score(restored, pair, test), seconds))
    _, before, after, took = zip(*pictures, strict=True)
    return Row(
        model=entry.name,
        task=trial.task,
        scale=trial.scale,
        test=test.name,
        set=name,
        made=test.pairs is None,
        steps=trial.steps or (STEPS if entry.task == GENERATE else entry.sample.steps),
        dtype=dtype_name(trial.restorer.denoiser.dtype),
        cpu=cpu_line(),
        n=len(pictures),
        input=_mean(before),
        restored=_mean(after),
        seconds=round(sum(took), 3),
        megapixels=pixels / 1e6,
        pictures=[
            {"name": name, "input": _scores(was), "restored": _scores(now), "seconds": round(seconds, 3)}
            for name, was, now, seconds in pictures
        ],
    )


def _mean(scores: Sequence[Score]) -> dict[str, float | None]:
    return _scores(Score(*map(fmean, zip(*scores, strict=True))))


def _scores(scores: Score) -> dict[str, float | None]:
    return {name: json_score(value) for name, value in scores._asdict().items()}


def keep(file: Path, rows: Iterable[Row]) -> None:
    """Put the rows into the file, in the place of those that they measure again."""
    earlier = {row.key: row for row in kept(file)} if file.exists() else {}
    data = [asdict(row) for row in (earlier | {row.key: row for row in rows}).values()]
    write_bytes(file, f"{json.dumps(data, indent=1)}\n".encode())


def kept(file: Path) -> list[Row]:
    """The rows of a file. Raises ``UsageError`` for one that has none."""
    try:
        return [Row(**row) for row in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{file}: no scores that --out has written: {error}.") from error


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--models", nargs="+", help="Names, or folders; by default all that come with restorer.")
    parser.add_argument("--sets", nargs="+", default=ALL_SETS, metavar="SET", help="Folders of DATA.")
    parser.add_argument("--limit", type=int, help="So many pictures of a set.")
    parser.add_argument("--steps", type=int, nargs="+", help="A row for each, instead of the card's own.")
    parser.add_argument("--prior-pictures", type=int, default=PRIOR_PICTURES, help="So many for a prior.")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", type=int, default=1, help="Of the CPU; with one others disturb the clock least.")
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    parser.add_argument("--write", type=Path, metavar="FILE.json")
    parser.add_argument("--root", type=Path, default=ROOT, help="Where --write finds README.md, docs and models.")
    options = parser.parse_args(words)
    if (options.data is None) == (options.write is None):
        parser.error("name the folder of pictures, or --write FILE.json")
    for name in options.sets:
        if name not in ALL_SETS:
            raise unknown("set", name, list(ALL_SETS))
    return options


def run(options: argparse.Namespace) -> None:
    """Measure, or write what was measured."""
    if options.write:
        for file in put_all(kept(options.write), options.root):
            print(file)
        return
    torch.set_num_threads(options.threads)
    for model in options.models or embedded():
        print(f"\n### {model}\n\n{header(OF_MODEL)}", flush=True)
        for trial in trials(model, options):
            for row in measured(trial, options):
                print(line(row, OF_MODEL), flush=True)
                if options.out:
                    keep(options.out, [row])


def main(words: Sequence[str] | None = None) -> None:
    try:
        run(_options(words))
    except RestorerError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
