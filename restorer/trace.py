"""Traces: how a picture came to be, as an animation, as frames, or as a chart. What is there of one, and whose it is.

Trace              where one goes and what makes it: stands, has_room, write
Frames, Curves     what collects one from the steps of a sampler; a call for each, then ``drawn``
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from restorer import images
from restorer.errors import ImageError
from restorer.images.atomic import write_bytes
from restorer.images.many import gif
from restorer.images.recipe import same_recipe
from restorer.metrics import psnr

Kind = Literal["gif", "frames", "plot"]

LONGEST = 100
"""A trace has no more frames: of a longer way every so manieth."""

HIGHEST = 100.0
"""PSNR in dB at which a chart draws equal pictures, whose PSNR is infinite."""

ENDINGS: dict[str, str] = {"gif": ".gif", "frames": "_trace", "plot": "_trace.png"}


@dataclass(frozen=True)
class Trace:
    """The trace of one picture. ``place``: a file, or a folder of frames; ``recipe``: what makes picture and trace.

    ``recorded``: whether the recipe is written into it; a GIF has no place for one.
    """

    kind: Kind
    place: Path
    recipe: Mapping[str, Any]
    recorded: bool = True

    def stands(self) -> bool:
        """Whether it is there, whole, and made with this recipe."""
        if self.kind == "gif":
            return self.place.exists()
        # The first frame is written last: with it they are all there.
        return self._is_ours(self.place if self.kind == "plot" else self.place / _frame_name(0))

    def has_room(self) -> bool:
        """Whether nothing is in its place but what a run with this recipe has written."""
        if not self.place.exists():
            return True
        if self.kind == "frames" and self.place.is_dir():
            return all(self._is_ours(file) for file in self.place.iterdir())
        return self.kind == "plot" and self._is_ours(self.place)

    def files(self) -> list[Path]:
        """What is in its place now, or may come there."""
        return sorted(self.place.iterdir()) if self.place.is_dir() else [self.place]

    def write(self, frames: Sequence[Tensor]) -> None:
        """Write frames (1, 3, H, W), float32 RGB in [0, 1]; a chart is one of them. Raises ``ImageError``.

        Every file is written whole or not at all, and of a folder that is interrupted no new frame stays.
        """
        if self.kind == "gif":
            write_bytes(self.place, gif(frames))
        elif self.kind == "plot":
            self._write(frames[0], self.place)
        else:
            self._write_folder(frames)

    def _write_folder(self, frames: Sequence[Tensor]) -> None:
        try:
            self.place.mkdir(exist_ok=True)
        except OSError as error:
            raise ImageError(f"{self.place} is no folder for frames: {error.strerror}; move it away.") from error
        written = []
        try:
            for i, frame in reversed(list(enumerate(frames))):
                file = self.place / _frame_name(i)
                self._write(frame, file)
                written.append(file)
        except BaseException:
            for file in written:
                file.unlink(missing_ok=True)
            with suppress(OSError):  # it holds what was there before
                self.place.rmdir()
            raise
        for file in self.place.glob("[0-9][0-9][0-9].png"):
            if int(file.stem) >= len(frames):  # of a longer way that is overwritten
                file.unlink()

    def _write(self, frame: Tensor, file: Path) -> None:
        images.write(images.Picture(frame.contiguous()), file, recipe=self.recipe if self.recorded else None)

    def _is_ours(self, file: Path) -> bool:
        return same_recipe(images.read_recipe(file), self.recipe)


def beside(target: Path, kind: Kind, *, whole_name: bool = False) -> Path:
    """Where the trace of the picture at ``target`` goes: photo_derained.gif, photo_derained_trace/ or ..._trace.png.

    ``whole_name``: photo_derained.jpg.gif, for when a picture beside it differs in its ending alone.
    """
    return target.with_name((target.name if whole_name else target.stem) + ENDINGS[kind])


def every(steps: int) -> int:
    """Of a way of so many steps every so manieth state is a frame."""
    return max(1, -(-steps // LONGEST))


class Frames:
    """Collects x_t, one picture a step; see ``restorer.restore.Watch`` for what it is called with."""

    def __init__(self, steps: int) -> None:
        self.every = every(steps)
        self.kept: dict[int, Tensor] = {}
        self.done = 0

    def __call__(self, done: int, x: Tensor, x0: Tensor) -> None:
        """Keep a frame; a run that starts over takes the place of the one before."""
        if done == 0:
            self.kept.clear()
        if done % self.every == 0:
            self.kept[done] = x.nan_to_num(0.0).clamp(0, 1)
        self.done = done

    def drawn(self, result: Tensor) -> list[Tensor]:
        """The frames, of which the last is the result itself: (1, 3, H, W), float32 RGB in [0, 1]."""
        return [frame for done, frame in self.kept.items() if done != self.done] + [result]


class Curves:
    """Collects the PSNR of x_t and of the predicted x0; ``clean``: the ground truth, (1, 3, H, W) in [0, 1]."""

    def __init__(self, clean: Tensor) -> None:
        self.clean = clean
        self.x: list[tuple[float, float]] = []
        self.x0: list[tuple[float, float]] = []

    def __call__(self, done: int, x: Tensor, x0: Tensor) -> None:
        """Measure a step; a run that starts over takes the place of the one before."""
        if done == 0:  # nothing is predicted yet
            self.x, self.x0 = [], []
        else:
            self.x0.append((done, self._psnr(x0)))
        self.x.append((done, self._psnr(x)))

    def drawn(self, result: Tensor) -> list[Tensor]:
        """The chart, as a picture (1, 3, H, W), float32 RGB in [0, 1]."""
        from restorer.plot import line_chart

        words = {"title": "PSNR against the ground truth", "x": "Sampling steps done", "y": "PSNR (dB)"}
        return [images.to_tensor(line_chart({"x_t": self.x, "predicted x0": self.x0}, **words))[0]]

    def _psnr(self, picture: Tensor) -> float:
        return min(psnr(picture.clamp(0, 1), self.clean), HIGHEST)


def _frame_name(i: int) -> str:
    return f"{i:03d}.png"
