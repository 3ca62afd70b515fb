"""Blur taken out without being told of it: the kernel is found from the picture itself, then divided out.

A sharp picture has few edges, and its edges are steep: the picture with the fewest that explains the blurred one is
taken for it, the kernel that turns one into the other is fitted, and so on in turns, from a coarse picture to the fine
[Xu, Zheng & Jia 2013, "Unnatural L0 sparse representation for natural image deblurring"; Pan et al. 2014, "Deblurring
text images via L0-regularized intensity and gradient prior"]. One kernel is found for the whole picture. Where the blur
varies, or is more than a kernel holds, what comes out is wrong in places: a net that is shown it beside the picture
says where. It is shown four: a small kernel is surer, a large one holds more; and light adds up in a camera before it
becomes sRGB, in the frames of a video that are averaged afterwards, and which it was nobody says.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fft import irfft2, rfft2

from restorer.degrade.convolve import smooth
from restorer.degrade.srgb import to_linear, to_srgb

SIDES = (15, 31)
"""Of kernels, in pixels: the widest blur that is found."""
MADE = 2 * 3 * len(SIDES)
"""Channels that a net is shown beside a picture."""
SEEN = 640
"""The kernel is looked for in the middle of the picture, in so many pixels a side at most."""

_LUMA = (0.299, 0.587, 0.114)
_FINER = 2**0.5  # each step from coarse to fine
_COARSEST = 5  # side of the kernel that is found first
_TURNS = 5  # at each size
_EDGES = 4e-3  # what an edge costs, at first
_FEWER = 1.1  # by how much less after every turn, to
_CHEAPEST = 1e-4
_STIFF = 1e5  # how closely the edges are followed in the end
_STIFFER = 3.0  # each time
_RIDGE = 2.0  # what a kernel costs, so that it is smooth where little is known
_FAINT = 0.1  # of its largest value: less is nothing
_LONELY = 0.1  # parts of a kernel that lie apart count from so much of the whole

_ROUGH = 5e-3  # what roughness costs in the restored picture
_FLOOR = 1e-4  # below which a frequency is lost, whatever roughness costs


def deconvolved(y: Tensor) -> Tensor:
    """(N, MADE, H, W): ``y`` (N, 3, H, W), RGB in [0, 1], without the blur that is found with each of SIDES.

    First as if sRGB values had been blurred, then as if linear light had.
    """
    return torch.cat([torch.cat([_sharp(one), to_srgb(_sharp(to_linear(one)))], dim=1) for one in y.split(1)])


def _sharp(y: Tensor) -> Tensor:
    return torch.cat([divided(y, blur_kernel(y, side)) for side in SIDES], dim=1)


def blur_kernel(y: Tensor, side: int = SIDES[-1]) -> Tensor:
    """The kernel that ``y`` (1, 3, H, W), RGB in [0, 1], is blurred by, (side + 4, side + 4); its sum is 1.

    Its middle is that of the way which the light went: halfway along, as in videos whose frames are averaged. In
    float64, since whether an edge is one hangs on a threshold: rounding, which differs with threads, must not decide.
    """
    y = y[..., *(_middle(length) for length in y.shape[-2:])].double()
    grey = (y[0] * torch.tensor(_LUMA, dtype=y.dtype)[:, None, None]).sum(0)
    cost, kernel = _EDGES, None
    for reach, seen in _sizes(grey, side):
        kernel = _begin(reach) if kernel is None else _kept(_resized(kernel, (reach, reach)))
        seen = _periodic(seen, 2 * reach)
        for _ in range(_TURNS):
            kernel = _centred(_fitted(_few_edges(seen, kernel, cost), seen, reach))
            cost = max(cost / _FEWER, _CHEAPEST)
    return halfway(kernel).float()


def divided(y: Tensor, kernel: Tensor, rough: float = _ROUGH) -> Tensor:
    """``y`` (1, C, H, W) with ``kernel`` (odd, odd) divided out: the smooth picture that explains it best.

    Wiener's filter with the spectrum of gradients. Beyond its edges the picture goes on, and fades into what a periodic
    one would be, so that they do not ring.
    """
    height, width = y.shape[-2:]
    margin = max(16, kernel.shape[-1] - 1)
    down, across = (smooth(length + 2 * margin) - length - margin for length in (height, width))
    wide = F.pad(y, (margin, across, margin, down), mode="replicate")
    size = tuple(wide.shape[-2:])
    spectrum = _spectrum(kernel, size)
    inside = torch.outer(*(_ramp(length, margin) for length in size))
    power = spectrum.abs().square() + rough * _gradients(size, y.dtype) + _FLOOR
    made = []
    for channel in wide[0]:  # each alone: spectra are large
        around = irfft2(rfft2(channel) * spectrum, s=size)
        made.append(irfft2(rfft2(torch.lerp(around, channel, inside)) * spectrum.conj() / power, s=size))
    return torch.stack(made)[None, :, margin : margin + height, margin : margin + width].clamp(0, 1)


def halfway(kernel: Tensor) -> Tensor:
    """``kernel`` moved so that its middle pixel is halfway along it, wherever along a curve that is.

    Along means the direction in which it is longest; the ends are where 4 % of it lie beyond.
    """
    reach = torch.arange(len(kernel), dtype=kernel.dtype) - len(kernel) // 2
    y, x = reach[:, None] - kernel.sum(1) @ reach, reach[None, :] - kernel.sum(0) @ reach
    turn = 0.5 * torch.atan2(2 * (kernel * x * y).sum(), (kernel * x * x).sum() - (kernel * y * y).sum())
    along, aside = x * turn.cos() + y * turn.sin(), y * turn.cos() - x * turn.sin()
    order = along.flatten().argsort()
    gone = kernel.flatten()[order].cumsum(0)
    ends = torch.searchsorted(gone, torch.tensor([0.04, 0.96], dtype=kernel.dtype)).clamp_(max=len(gone) - 1)
    half = along.flatten()[order[ends]].mean()
    near = kernel * torch.exp(-0.5 * ((along - half) / 1.5).square())
    off = (near * aside).sum() / near.sum().clamp(min=1e-9)
    down = y[len(kernel) // 2, 0] - half * turn.sin() - off * turn.cos()
    right = x[0, len(kernel) // 2] - half * turn.cos() + off * turn.sin()
    return _moved(kernel, float(down), float(right))


def _middle(length: int) -> slice:
    first = max(0, (length - SEEN) // 2)
    return slice(first, first + SEEN)


def _sizes(grey: Tensor, side: int) -> Iterator[tuple[int, Tensor]]:
    """The side of the kernel and the picture, from coarse to fine."""
    steps = max(0, math.floor(math.log(side / _COARSEST) / math.log(_FINER)))
    for step in range(steps, -1, -1):
        share = _FINER**-step
        size = tuple(max(1, round(length * share)) for length in grey.shape)
        yield math.ceil((side * share - 1) / 2) * 2 + 1, _resized(grey, size) if step else grey


def _begin(side: int) -> Tensor:
    """Two pixels of equal share: of a kernel that is a point nothing would be learned."""
    kernel = torch.zeros(side, side, dtype=torch.float64)
    kernel[side // 2, side // 2 : side // 2 + 2] = 0.5
    return kernel


def _few_edges(seen: Tensor, kernel: Tensor, cost: float) -> Tensor:
    """The picture x with the least of |kernel * x - seen|^2 + cost * (how many pixels differ from the next)."""
    spectrum, gradients = _spectrum(kernel, seen.shape), _gradients(seen.shape, seen.dtype)
    power, known, x, stiff = spectrum.abs().square(), spectrum.conj() * rfft2(seen), seen, 2 * cost
    while stiff < _STIFF:
        right, down = _differences(x)
        flat = right.square() + down.square() < cost / stiff
        right, down = right.masked_fill_(flat, 0), down.masked_fill_(flat, 0)
        sources = right.roll(1, 1) - right + down.roll(1, 0) - down
        x = irfft2((known + stiff * rfft2(sources)) / (power + stiff * gradients), s=seen.shape)
        stiff *= _STIFFER
    return x


def _fitted(sharp: Tensor, seen: Tensor, side: int) -> Tensor:
    """The kernel (side, side) that turns the gradients of ``sharp`` into those of ``seen``."""
    product, power = 0, _RIDGE
    for ours, theirs in zip(_differences(sharp), _differences(seen), strict=True):
        spectrum = rfft2(ours)
        product = product + spectrum.conj() * rfft2(theirs)
        power = power + spectrum.abs().square()
    kernel = irfft2(product / power, s=seen.shape).roll((side // 2, side // 2), (0, 1))[:side, :side]
    return _kept(kernel)


def _kept(kernel: Tensor) -> Tensor:
    """A kernel without what is faint, negative, or small and apart; a point where nothing is left. Its sum is 1."""
    kernel = torch.where(kernel < _FAINT * kernel.max(), 0.0, kernel).clamp_(min=0)
    parts = _parts(kernel > 0)
    shares = kernel.new_zeros(int(parts.max()) + 1).index_add_(0, parts.flatten(), kernel.flatten())
    kernel = kernel * (shares >= _LONELY * shares.sum())[parts]
    if not kernel.sum() > 0:
        kernel[len(kernel) // 2, len(kernel) // 2] = 1.0
    return kernel / kernel.sum()


def _parts(there: Tensor) -> Tensor:
    """A number for each pixel (side, side), the same for those that hang together, corners included; 0 for none."""
    parts = torch.arange(1, there.numel() + 1.0).view_as(there) * there
    while True:
        wider = F.max_pool2d(parts[None], 3, 1, 1)[0] * there
        if torch.equal(wider, parts):
            return parts.long()
        parts = wider


def _centred(kernel: Tensor) -> Tensor:
    """The kernel moved by whole pixels, its mean in the middle."""
    reach = torch.arange(len(kernel), dtype=kernel.dtype) - len(kernel) // 2
    return kernel.roll([-round(float(kernel.sum(dim) @ reach)) for dim in (1, 0)], (0, 1))


def _moved(kernel: Tensor, down: float, right: float) -> Tensor:
    """A kernel moved by parts of a pixel too, two pixels larger at every side; what would leave it is lost."""
    side = len(kernel) + 4
    rows, columns = (_shares(side, move).to(kernel.dtype) for move in (down, right))
    moved = rows @ F.pad(kernel, (2, 2, 2, 2)) @ columns.T
    return moved / moved.sum()


def _shares(side: int, move: float) -> Tensor:
    """(side, side): what each pixel gets of each when all go on by ``move``."""
    places = torch.arange(side, dtype=torch.float64)
    away = places[:, None] - places[None, :] - move
    return (1 - away.abs()).clamp_(min=0)


def _periodic(grey: Tensor, margin: int) -> Tensor:
    """``grey`` (H, W) with at least ``margin`` pixels at its ends, which lead from each edge to the opposite one."""
    for dim in (0, 1):
        more = smooth(grey.shape[dim] + margin) - grey.shape[dim]
        first, last = grey.narrow(dim, 0, 1), grey.narrow(dim, -1, 1)
        way = torch.linspace(0, 1, more + 2, dtype=grey.dtype)[1:-1]
        grey = torch.cat([grey, torch.lerp(last, first, way[:, None] if dim == 0 else way)], dim)
    return grey


def _spectrum(kernel: Tensor, size: tuple[int, ...]) -> Tensor:
    """The transform of a kernel whose middle is at (0, 0), for pictures of ``size``."""
    half = len(kernel) // 2
    placed = F.pad(kernel, (0, size[1] - len(kernel), 0, size[0] - len(kernel)))
    return rfft2(placed.roll((-half, -half), (0, 1)))


def _gradients(size: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """How strongly differences of neighbours see each frequency: |dx|^2 + |dy|^2."""
    down, across = torch.fft.fftfreq(size[0], dtype=dtype), torch.fft.rfftfreq(size[1], dtype=dtype)
    rows, columns = (2 - 2 * torch.cos(2 * math.pi * frequency) for frequency in (down, across))
    return rows[:, None] + columns[None, :]


def _differences(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.roll(-1, 1) - x, x.roll(-1, 0) - x


def _ramp(length: int, margin: int) -> Tensor:
    """1 inside, down to nothing over the margin at both ends."""
    steps = torch.arange(1.0, length + 1)
    return (torch.minimum(steps, length + 1 - steps) / margin).clamp_(max=1)


def _resized(picture: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(picture[None, None], size=size, mode="bilinear", antialias=True)[0, 0]
