"""What zero-shot restoration knows of the damage: a linear operator, its pseudo-inverse and its singular values.

    y = A(x)        pinv(y): of all x that explain y best, the smallest        A = U diag(sv) Vt

``parse_operator("mask+gray+sr:4", size)`` makes one; each belongs to one picture size, and none forms its matrix. Here
are those of single pixels and the chains; means of blocks and bicubic sampling are in ``resample``, blur in ``blur``,
compressed sensing in ``sensing``, and what all of them must do in ``linear``.

[DDNM] Wang et al., Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, ICLR 2023, on degradation
operators; their singular values also in Kawar et al., Denoising Diffusion Restoration Models, NeurIPS 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import reduce

import torch
from torch import Tensor

from restorer.diffusion.blur import FLOOR, blur, gauss_taps, motion_kernel, uniform_taps
from restorer.diffusion.linear import (
    ITERATIONS,
    LinearOperator,
    SpectralOperator,
    divide,
    least_squares,
    like,
    mirror,
)
from restorer.diffusion.resample import Pool, bicubic, pool
from restorer.diffusion.sensing import block_sensing, walsh_hadamard

# ------------------------------------------------------------------------------------------------ pixel by pixel


@dataclass(frozen=True, eq=False)
class Identity:
    """Denoising: y is x, with noise on it."""

    def A(self, x: Tensor) -> Tensor:
        """The pictures themselves."""
        return x

    At = pinv = V = Vt = A

    @property
    def sv(self) -> Tensor:
        """(1, 1, 1): 1 for every value."""
        return torch.ones(1, 1, 1, dtype=torch.float64)


@dataclass(frozen=True, eq=False)
class Mask:
    """Inpainting: y has 0 where ``keep`` is 0. Values between 0 and 1 dim a pixel, and pinv makes up for it.

    ``keep``: (H, W), (C, H, W) or (N, C, H, W), with a C of 1 for a mask of whole pixels and N for one a picture;
    none below 0.
    """

    keep: Tensor

    def A(self, x: Tensor) -> Tensor:
        """The pixels that are kept. Raises ValueError for pictures of another shape."""
        if any(k not in (1, n) for k, n in zip(reversed(self.keep.shape), reversed(x.shape), strict=False)):
            shapes = " x ".join(map(str, self.keep.shape)), " x ".join(map(str, x.shape))
            raise ValueError(f"The mask is for pictures of {shapes[0]}, not {shapes[1]}.")
        return like(self.keep, x) * x

    At = A

    def pinv(self, y: Tensor) -> Tensor:
        """The pixels that are kept, undimmed."""
        return divide(y, like(self.keep, y))

    @property
    def sv(self) -> Tensor:
        """The mask."""
        return self.keep

    def V(self, c: Tensor) -> Tensor:
        """The pictures themselves."""
        return c

    Vt = V


@dataclass(frozen=True, eq=False)
class Gray:
    """Colourisation: y (N, 1, ...) is the weighted sum of the channels of x (N, C, ...). ``weights``: (C,)."""

    weights: Tensor

    def A(self, x: Tensor) -> Tensor:
        """The grey pictures. Raises ValueError for another number of channels."""
        if x.shape[1] != len(self.weights):
            raise ValueError(f"Grey is made of {len(self.weights)} channels, not {x.shape[1]}.")
        return (x * self._weights(x)).sum(1, keepdim=True)

    def At(self, y: Tensor) -> Tensor:
        """Grey times each channel's weight."""
        return y * self._weights(y)

    def pinv(self, y: Tensor) -> Tensor:
        """The smallest picture with this grey; with equal weights the grey in each channel."""
        return self.At(y) / self.weights.square().sum().item()

    @property
    def sv(self) -> Tensor:
        """(C, 1, 1): the length of the weights first, 0 for the others, which are colour."""
        return torch.cat([self.weights.norm()[None], torch.zeros_like(self.weights[1:])])[:, None, None]

    def V(self, c: Tensor) -> Tensor:
        """A reflection that turns the first channel into grey, its own inverse."""
        weights = self._weights(c)
        return mirror(c, weights / weights.norm(), (1,))

    Vt = V

    def _weights(self, x: Tensor) -> Tensor:
        return like(self.weights, x).view(1, -1, *[1] * (x.ndim - 2))


# ------------------------------------------------------------------------------------------------ one after the other


@dataclass(frozen=True, eq=False)
class GrayOf:
    """Grey, and an operator that does the same to each channel, in any order: singular values are the products."""

    gray: Gray
    operator: SpectralOperator

    def A(self, x: Tensor) -> Tensor:
        """The operator of the grey pictures."""
        return self.operator.A(self.gray.A(x))

    def At(self, y: Tensor) -> Tensor:
        """Both transposes."""
        return self.gray.At(self.operator.At(y))

    def pinv(self, y: Tensor) -> Tensor:
        """Both pseudo-inverses, which is right here since one acts on channels and one on pixels."""
        return self.gray.pinv(self.operator.pinv(y))

    @property
    def sv(self) -> Tensor:
        """(C, H, W): all singular values in the first channel, 0 in the others."""
        return self.gray.sv * self.operator.sv

    def V(self, c: Tensor) -> Tensor:
        """Both of them."""
        return self.operator.V(self.gray.V(c))

    def Vt(self, x: Tensor) -> Tensor:
        """Both of them."""
        return self.gray.Vt(self.operator.Vt(x))


@dataclass(frozen=True, eq=False)
class Chain:
    """Operators one after the other, the first first. No singular values; ``pinv`` by conjugate gradients.

    The product of the parts' pseudo-inverses is not the pseudo-inverse of their product: a mask that cuts a block of
    pixels whose mean is taken next is already a case. ``iterations`` bounds the work.
    """

    operators: tuple[LinearOperator, ...]
    iterations: int = ITERATIONS

    def A(self, x: Tensor) -> Tensor:
        """Each in turn."""
        return reduce(lambda x, operator: operator.A(x), self.operators, x)

    def At(self, y: Tensor) -> Tensor:
        """Each transpose, the last first."""
        return reduce(lambda y, operator: operator.At(y), reversed(self.operators), y)

    def pinv(self, y: Tensor) -> Tensor:
        """Least squares, as far as ``iterations`` reach."""
        return least_squares(self.A, self.At, y, iterations=self.iterations)


def chain(operators: list[LinearOperator], iterations: int = ITERATIONS) -> LinearOperator:
    """Operators one after the other, the first first, in closed form where there is one.

    That is with grey before, after or between operators that do the same to each channel, with a mask before means of
    blocks, and with masks after one another, of whole pixels each.
    """
    parts = [operator for operator in operators if not isinstance(operator, Identity)]
    grays = [operator for operator in parts if isinstance(operator, Gray)]
    rest = _fused([operator for operator in parts if not isinstance(operator, Gray)])
    alike = all(_does_each_channel_alike(operator) for operator in rest)
    if len(grays) <= 1 and len(rest) <= 1 and (alike or not grays):
        one = rest[0] if rest else Identity()
        if not grays:
            return one
        if isinstance(one, SpectralOperator):
            return GrayOf(grays[0], one)
    return Chain(tuple(parts), iterations)


def _fused(operators: list[LinearOperator]) -> list[LinearOperator]:
    """Masks of whole pixels brought together with the mask or the means of blocks that they come before."""
    fused: list[LinearOperator] = []
    for operator in operators:
        last = fused[-1] if fused else None
        if isinstance(last, Mask) and last.keep.ndim == 2 and isinstance(operator, Mask):
            fused[-1] = Mask(last.keep * operator.keep)
        elif isinstance(last, Mask) and last.keep.ndim == 2 and isinstance(operator, Pool):
            fused[-1] = Pool(last.keep * operator.weights, operator.factor)
        else:
            fused.append(operator)
    return fused


def _does_each_channel_alike(operator: LinearOperator) -> bool:
    return not isinstance(operator, Mask) or operator.keep.ndim == 2


# ------------------------------------------------------------------------------------------------ by name


@dataclass(frozen=True, eq=False)
class Given:
    """What words alone do not say: the picture's (height, width) where the operator stands, and the caller's tables."""

    size: tuple[int, int]
    keep: Tensor | None = None
    kernels: Mapping[str, Tensor] = field(default_factory=dict)
    seed: int = 0
    boundary: str = "reflect"
    floor: float = FLOOR
    iterations: int = ITERATIONS


def parse_operator(
    spec: str,
    size: tuple[int, int],
    *,
    keep: Tensor | None = None,
    kernels: Mapping[str, Tensor] | None = None,
    seed: int = 0,
    boundary: str = "reflect",
    floor: float = FLOOR,
    iterations: int = ITERATIONS,
) -> LinearOperator:
    """The operator of words such as ``"sr:4"`` or ``"mask+gray+sr:4"``, the first first; ``OPERATORS`` knows them all.

    ``size``: (height, width) of the clean picture; ``keep``: what the word ``mask`` keeps, see ``Mask``; ``kernels``:
    tables by the names that ``blur:NAME`` uses; ``seed``: of what ``cs`` and ``cs-block`` measure; ``boundary`` and
    ``floor``: see ``blur``; ``iterations``: of pseudo-inverses without closed form. Tables are float64 on the CPU;
    ``linear.to`` moves them. Raises ValueError, with a sentence that names the word.
    """
    operators: list[LinearOperator] = []
    words = [word.strip() for word in spec.split("+")]
    for i, word in enumerate(words):
        operator = _one(word, Given(size, keep, kernels or {}, seed, boundary, floor, iterations))
        operators.append(operator)
        if i + 1 < len(words) and not isinstance(operator, Gray | Mask):
            # What comes out tells the size that the next one sees.
            seen = operator.A(torch.zeros(1, 1, *size, dtype=torch.float64))
            if seen.ndim != 4:
                raise ValueError(f"{word!r} gives no picture, so it must be the last word of {spec!r}.")
            size = (seen.shape[-2], seen.shape[-1])
    if sum(isinstance(operator, Gray) for operator in operators) > 1:
        raise ValueError(f"{spec!r} makes a picture grey twice; once is enough.")
    return chain(operators, iterations)


def _one(word: str, given: Given) -> LinearOperator:
    name, *options = word.split(":")
    if name not in OPERATORS:
        raise ValueError(f"Unknown degradation {word!r}; known: {', '.join(OPERATORS)}.")
    try:
        return OPERATORS[name](options, given)
    except ValueError as error:
        raise ValueError(f"{word!r}: {error}") from None


def _numbers(options: list[str], kind: type, least: int, most: int, form: str) -> list[float]:
    """Options as ``least`` to ``most`` numbers; ``form`` is how they are written."""
    try:
        numbers = [kind(option) for option in options]
    except ValueError:
        numbers = []
    if not least <= len(numbers) <= most or len(numbers) != len(options):
        raise ValueError(f"it is written {form}.")
    return numbers


def _factor(options: list[str], form: str) -> int:
    [factor] = _numbers(options, int, 1, 1, form)
    if factor < 1:
        raise ValueError(f"a factor is a whole number from 1 on, not {factor}.")
    return factor


def _sr(options: list[str], given: Given) -> LinearOperator:
    factor = _factor(options, "sr:4, the factor a whole number")
    if factor > max(given.size):
        raise ValueError(f"a picture of {given.size[0]} x {given.size[1]} has no blocks of {factor} pixels.")
    return pool(given.size, factor)


def _sr_bicubic(options: list[str], given: Given) -> LinearOperator:
    return bicubic(given.size, _factor(options, "sr-bicubic:4, the factor 2, 4, 8 or 16"))


def _gray(options: list[str], given: Given) -> LinearOperator:
    if options not in ([], ["mean"], ["luma"]):
        raise ValueError("it is written gray, gray:mean (the same) or gray:luma.")
    weights = [0.299, 0.587, 0.114] if options == ["luma"] else [1 / 3] * 3
    return Gray(torch.tensor(weights, dtype=torch.float64))


def _mask(options: list[str], given: Given) -> LinearOperator:
    if options:
        raise ValueError("it takes no options; give the mask itself with keep.")
    if given.keep is None:
        raise ValueError("a mask is needed: give it with keep, 1 where the picture is known.")
    keep = given.keep.double().cpu()
    if tuple(keep.shape[-2:]) != tuple(given.size) or not 2 <= keep.ndim <= 4 or not (keep >= 0).all():
        shape = " x ".join(map(str, keep.shape))
        raise ValueError(
            f"the mask must be {given.size[0]} x {given.size[1]} like the picture and nowhere below 0; it is {shape}."
        )
    while keep.ndim > 2 and keep.shape[0] == 1:
        keep = keep[0]
    return Mask(keep)


def _denoise(options: list[str], given: Given) -> LinearOperator:
    if options:
        raise ValueError("it takes no options; how much noise is told to the sampler.")
    return Identity()


def _blur(options: list[str], given: Given) -> LinearOperator:
    return blur(
        given.size,
        _kernel(options, given),
        boundary=given.boundary,
        floor=given.floor,
        iterations=given.iterations,
    )


def _kernel(options: list[str], given: Given) -> Tensor:
    """A table by its name, or by the caller's; a name may hold colons."""
    match options:
        case _ if (name := ":".join(options)) in given.kernels:
            return given.kernels[name]
        case ["gauss", *rest]:
            sigma, *count = _numbers(rest, float, 1, 2, "blur:gauss:SIGMA or blur:gauss:SIGMA:TAPS")
            taps = gauss_taps(sigma, *_counts(count))
            return torch.outer(taps, taps)
        case ["uniform", *rest]:
            taps = uniform_taps(*_numbers(rest, int, 1, 1, "blur:uniform:TAPS"))
            return torch.outer(taps, taps)
        case ["aniso", *rest]:
            across, down, *count = _numbers(rest, float, 2, 3, "blur:aniso:ACROSS:DOWN or blur:aniso:ACROSS:DOWN:TAPS")
            return torch.outer(gauss_taps(down, *_counts(count)), gauss_taps(across, *_counts(count)))
        case ["motion", *rest]:
            return motion_kernel(*_numbers(rest, float, 2, 2, "blur:motion:LENGTH:DEGREES"))
    known = ", ".join(["gauss", "uniform", "aniso", "motion", *given.kernels])
    raise ValueError(f"a blur is one of {known}; other kernels are given with kernels.")


def _counts(numbers: list[float]) -> list[int]:
    if not all(number.is_integer() for number in numbers):
        raise ValueError(f"a number of taps is whole, not {numbers[0]:g}.")
    return [int(number) for number in numbers]


def _cs(options: list[str], given: Given) -> LinearOperator:
    [ratio] = _numbers(options, float, 1, 1, "cs:0.25, the share that is measured")
    return walsh_hadamard(given.size, ratio, given.seed)


def _cs_block(options: list[str], given: Given) -> LinearOperator:
    [ratio] = _numbers(options, float, 1, 1, "cs-block:0.25, the share that is measured")
    return block_sensing(given.size, ratio, given.seed)


OPERATORS: dict[str, Callable[[list[str], Given], LinearOperator]] = {
    "sr": _sr,
    "sr-bicubic": _sr_bicubic,
    "gray": _gray,
    "mask": _mask,
    "blur": _blur,
    "cs": _cs,
    "cs-block": _cs_block,
    "denoise": _denoise,
}
