"""Linear operators: the identities each must keep, the matrix each stands for, and published values."""

import pytest
import torch

from restorer.diffusion.blur import CircularBlur, CosineBlur, MirroredBlur, gauss_taps, motion_kernel, uniform_taps
from restorer.diffusion.linear import SpectralOperator, dct, hadamard, hartley2, idct, least_squares, to
from restorer.diffusion.operators import Chain, Gray, GrayOf, Identity, Mask, parse_operator
from restorer.diffusion.resample import Pool, Separable, banded, bicubic_taps, svd
from restorer.diffusion.sensing import block_sensing

SIZES = [(16, 16), (9, 14), (37, 5), (1, 1)]

KERNELS = {
    "any.png": torch.rand(5, 4, generator=torch.Generator().manual_seed(1)) + 0.05,
    "lopsided.png": torch.outer(torch.tensor([3.0, 2, 1]), torch.tensor([1.0, 5, 1])),
}

CLOSED = [
    "denoise",
    "sr:1",
    "sr:2",
    "sr:4",
    "sr:5",
    "sr-bicubic:2",
    "sr-bicubic:4",
    "sr-bicubic:8",
    "sr-bicubic:16",
    "gray",
    "gray:luma",
    "mask",
    "blur:gauss:1",
    "blur:gauss:10:5",
    "blur:uniform:9",
    "blur:aniso:20:1:9",
    "blur:motion:5:0",
    "blur:lopsided.png",
    "cs:0.25",
    "cs-block:0.25",
    "gray+sr:2",
    "sr:2+gray",
    "mask+gray",
    "mask+sr:4",
    "mask+gray+sr:4",
    "blur:gauss:1+gray",
    "gray+cs:0.5",
    "mask+mask",
    "denoise+sr:2",
]
CIRCULAR = ["blur:gauss:1", "blur:uniform:9", "blur:motion:7:30", "blur:any.png", "gray+blur:any.png"]
OPEN = ["blur:motion:3:30", "blur:any.png", "blur:gauss:0.6+sr:2", "sr:2+mask2", "mask+blur:gauss:0.6"]


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def holes(size):
    return (torch.rand(*size, generator=rng(7)) > 0.3).double()


def fits(word, size):
    """Means of blocks need a picture of at least one block's side."""
    factors = [int(part[3:]) for part in word.split("+") if part.startswith("sr:")]
    return all(factor <= max(size) for factor in factors)


def made(word, size, boundary="reflect"):
    if word == "sr:2+mask2":  # a mask of the small picture
        small = tuple(-(-side // 2) for side in size)
        return Chain((parse_operator("sr:2", size), Mask(holes(small))), iterations=500)
    return parse_operator(word, size, keep=holes(size), kernels=KERNELS, boundary=boundary, iterations=500)


CASES = [(word, size, "reflect") for word in CLOSED + OPEN for size in SIZES if fits(word, size)]
CASES += [(word, size, "circular") for word in CIRCULAR for size in SIZES]
SPECTRAL = [(word, size, boundary) for word, size, boundary in CASES if word not in OPEN or boundary == "circular"]


def random(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=rng(seed), dtype=dtype)


def dot(a, b):
    return (a * b).sum()


def same(a, b, tolerance=1e-9):
    torch.testing.assert_close(a, b, rtol=0, atol=tolerance * (1 + float(b.abs().max())))


def matrix(function, shape):
    """The matrix of a linear function of pictures (C, H, W), column by column."""
    n = torch.Size(shape).numel()
    return function(torch.eye(n, dtype=torch.float64).view(n, *shape)).flatten(1).T


# ------------------------------------------------------------------------------------------------ identities


@pytest.mark.parametrize(("word", "size", "boundary"), CASES)
def test_linear_and_adjoint(word, size, boundary):
    op = made(word, size, boundary)
    x, other = random(2, 3, *size), random(2, 3, *size, seed=1)
    y = op.A(x)
    same(op.A(2 * x - other), 2 * y - op.A(other))
    u = random(*y.shape, seed=2)
    assert op.At(u).shape == op.pinv(u).shape == x.shape
    same(dot(y, u), dot(x, op.At(u)), 1e-8)


@pytest.mark.parametrize(("word", "size", "boundary"), SPECTRAL)
def test_penrose(word, size, boundary):
    op = made(word, size, boundary)
    x, other = random(2, 3, *size), random(2, 3, *size, seed=1)
    y, v = random(*op.A(x).shape, seed=2), random(*op.A(x).shape, seed=3)
    same(op.A(op.pinv(op.A(x))), op.A(x))
    same(op.pinv(op.A(op.pinv(y))), op.pinv(y))
    same(dot(op.A(op.pinv(y)), v), dot(y, op.A(op.pinv(v))), 1e-8)
    same(dot(op.pinv(op.A(x)), other), dot(x, op.pinv(op.A(other))), 1e-8)


@pytest.mark.parametrize(("word", "size", "boundary"), SPECTRAL)
def test_singular_values(word, size, boundary):
    op = made(word, size, boundary)
    assert isinstance(op, SpectralOperator)
    x, other = random(2, 3, *size), random(2, 3, *size, seed=1)
    c = op.Vt(x)
    assert c.shape == x.shape
    same(op.V(c), x)
    same(op.Vt(op.V(x)), x)
    same(dot(c, op.Vt(other)), dot(x, other))
    assert torch.broadcast_shapes(op.sv.shape, x.shape) == x.shape
    assert (op.sv >= 0).all()
    same(op.At(op.A(x)), op.V(op.sv.square() * c))  # A^T A = V sv^2 V^T
    same(op.A(x).square().sum(), (op.sv * c).square().sum())
    seen = (op.sv > 0).expand_as(x[0])
    same(op.pinv(op.A(x)), op.V(seen * c))


@pytest.mark.parametrize(("word", "size", "boundary"), [case for case in CASES if case[1] == (9, 14)])
def test_the_same_in_float32_and_alone_or_in_a_batch(word, size, boundary):
    op = made(word, size, boundary)
    x = random(3, 3, *size)
    single = to(op, x.float())
    y = single.A(x.float())
    assert y.dtype == single.At(y).dtype == single.pinv(y).dtype == torch.float32
    same(y.double(), op.A(x), 1e-5)
    torch.testing.assert_close(op.pinv(op.A(x))[1:2], op.pinv(op.A(x[1:2])), rtol=1e-9, atol=1e-9)
    same(op.A(x.float()).double(), y.double(), 1e-6)  # tables move by themselves, too


@pytest.mark.parametrize(("word", "size", "boundary"), [case for case in SPECTRAL if case[1] == (37, 5)])
def test_everything_happens_where_the_pictures_are(word, size, boundary):
    """On torch's device without values, which like an accelerator takes no tensors of the CPU."""
    op = made(word, size, boundary)
    x = torch.empty(2, 3, *size, device="meta")
    y = op.A(x)
    for result in (y, op.At(y), op.pinv(y), op.V(op.Vt(x))):
        assert result.device.type == "meta" and result.dtype == torch.float32


# ------------------------------------------------------------------------------------------------ dense matrices

TINY = [(word, size, "reflect") for word in CLOSED + OPEN for size in [(6, 5), (4, 8)]]
TINY += [(word, (6, 5), "circular") for word in CIRCULAR]


@pytest.mark.parametrize(("word", "size", "boundary"), TINY)
def test_pinv_is_that_of_the_dense_matrix(word, size, boundary):
    op = made(word, size, boundary)
    shape = op.A(random(1, 3, *size)).shape[1:]
    dense = matrix(op.A, (3, *size))
    same(matrix(op.At, shape), dense.T)
    same(matrix(op.pinv, shape), torch.linalg.pinv(dense, rtol=1e-10), 1e-6)
    if isinstance(op, SpectralOperator):
        sv = op.sv.expand(3, *size).flatten().sort(descending=True).values
        same(sv[: min(dense.shape)], torch.linalg.svdvals(dense))


@pytest.mark.parametrize("word", ["mask+gray+sr:4", "gray+sr:2", "blur:gauss:1+gray", "mask+mask", "gray+sr:2+sr:2"])
def test_a_chain_is_one_after_the_other(word):
    size, x, keep = (9, 14), random(2, 3, 9, 14), holes((9, 14))
    y = x
    for single in word.split("+"):
        y = parse_operator(single, tuple(y.shape[-2:]), keep=keep).A(y)
    same(parse_operator(word, size, keep=keep).A(x), y)


def test_the_product_of_pseudo_inverses_is_not_that_of_a_cut_block():
    keep = torch.ones(4, 4)
    keep[0, 0] = 0
    parts = [parse_operator(word, (4, 4), keep=keep) for word in ("mask", "gray", "sr:2")]
    op = parse_operator("mask+gray+sr:2", (4, 4), keep=keep)
    x = random(1, 3, 4, 4)
    product = parts[0].pinv(parts[1].pinv(parts[2].pinv(op.A(x))))
    assert (op.A(product) - op.A(x)).abs().max() > 1e-3
    same(op.A(op.pinv(op.A(x))), op.A(x))


def test_which_form_a_word_takes():
    def form(word, **more):
        return type(parse_operator(word, (9, 14), keep=holes((9, 14)), kernels=KERNELS, **more))

    assert form("blur:gauss:1") is CosineBlur
    assert form("blur:motion:5:90") is CosineBlur
    assert form("blur:lopsided.png") is Separable
    assert form("blur:any.png") is MirroredBlur
    assert form("blur:any.png", boundary="circular") is CircularBlur
    assert form("mask+sr:3") is Pool
    assert form("mask+gray+sr:3") is GrayOf
    assert form("denoise+denoise") is Identity
    assert form("denoise+gray") is GrayOf
    assert form("blur:gauss:1+sr:2") is Chain
    assert not isinstance(parse_operator("blur:gauss:1+sr:2", (9, 14)), SpectralOperator)


def test_masks_of_channels_and_of_pictures():
    size, x = (6, 5), random(2, 3, 6, 5)
    for keep in (holes((3, *size)), holes((2, 1, *size)), 0.5 * holes(size)):
        op = parse_operator("mask", size, keep=keep)
        same(op.A(op.pinv(op.A(x))), op.A(x))
        same(op.pinv(op.A(x)), x * (keep > 0))
    op = parse_operator("mask+gray", size, keep=holes((3, *size)))
    assert isinstance(op, Chain)
    same(op.A(op.pinv(op.A(x))), op.A(x), 1e-7)


# ------------------------------------------------------------------------------------------------ transforms


@pytest.mark.parametrize("n", [1, 2, 3, 8, 12, 31])
def test_transforms_are_orthogonal(n):
    x = random(2, n, n)
    k = torch.arange(n, dtype=torch.float64)
    cosines = torch.cos(torch.pi * torch.outer(k, 2 * k + 1) / (2 * n)) * (2 / n) ** 0.5
    cosines[0] /= 2**0.5
    same(dct(x), x @ cosines.T)
    same(idct(dct(x)), x)
    same(hartley2(hartley2(x)), x)
    same(hadamard(hadamard(x)), x)


def test_hadamard_is_in_natural_order():
    two = torch.tensor([[1.0, 1], [1, -1]], dtype=torch.float64)
    same(hadamard(torch.eye(8, dtype=torch.float64)), torch.kron(two, torch.kron(two, two)) / 8**0.5)


def test_least_squares_stops_by_itself_and_leaves_zero_alone():
    a = random(5, 7)
    y = torch.stack([random(5), torch.zeros(5, dtype=torch.float64)])
    x = least_squares(lambda x: x @ a.T, lambda y: y @ a, y)
    same(x, y @ torch.linalg.pinv(a).T)


def test_iterations_bound_the_work():
    def rest(word, iterations):
        op = parse_operator(word, (16, 16), iterations=iterations)
        y = op.A(random(1, 1, 16, 16))
        return float((op.A(op.pinv(y)) - y).norm())

    for word in ("blur:motion:5:30", "blur:gauss:1+sr:2"):
        assert rest(word, 1) > rest(word, 5) > rest(word, 50)


# ------------------------------------------------------------------------------------------------ blur


@pytest.mark.parametrize("word", ["blur:gauss:1", "blur:lopsided.png", "blur:any.png", "blur:motion:9:30"])
@pytest.mark.parametrize("boundary", ["reflect", "circular"])
def test_a_blur_is_the_convolution_with_its_kernel(word, boundary):
    op = parse_operator(word, (31, 24), kernels=KERNELS, boundary=boundary, floor=0)
    x = torch.zeros(1, 1, 31, 24, dtype=torch.float64)
    x[0, 0, 15, 12] = 1
    y = op.A(x)
    same(y.sum(), torch.tensor(1.0, dtype=torch.float64))
    flat = torch.full_like(x, 0.3)
    same(op.A(flat), flat, 1e-6)  # edges neither darken nor brighten
    if word in ("blur:lopsided.png", "blur:any.png"):
        kernel = KERNELS[word.removeprefix("blur:")].double()
        rows, columns = kernel.shape
        top, left = 15 - rows // 2, 12 - columns // 2
        same(y[0, 0, top : top + rows, left : left + columns], kernel / kernel.sum(), 1e-6)


def test_the_floor_bounds_what_errors_become():
    for boundary in ("reflect", "circular"):
        op = parse_operator("blur:gauss:2", (32, 32), boundary=boundary, floor=0.1)
        assert op.sv[op.sv > 0].min() > 0.1 and (op.sv == 0).any()
        y = random(1, 1, 32, 32)
        assert op.pinv(y).norm() <= 10 * y.norm()


def test_a_motion_is_a_line():
    same(motion_kernel(5, 0)[3], torch.tensor([0, 0.2, 0.2, 0.2, 0.2, 0.2, 0], dtype=torch.float64))
    same(motion_kernel(5, 90), motion_kernel(5, 0).T)
    up = motion_kernel(21, 45)
    same(up, up.flip(0, 1))
    assert up[0:8, 14:].sum() > 0.25 and up[0:8, :8].sum() == 0  # anticlockwise: to the upper right


# ------------------------------------------------------------------------------------------------ published values


def test_published_kernels():
    five = torch.tensor([0.19800, 0.20100, 0.20200, 0.20100, 0.19800], dtype=torch.float64)
    torch.testing.assert_close(gauss_taps(10, 5), five, rtol=0, atol=6e-6)
    half = torch.tensor(
        [-0.001709, -0.010986, -0.018311, -0.011963, 0.022705, 0.097412, 0.181885, 0.240967], dtype=torch.float64
    )
    torch.testing.assert_close(bicubic_taps(4), torch.cat([half, half.flip(0)]), rtol=0, atol=6e-7)


@pytest.mark.parametrize(
    ("taps", "total", "lost"),
    [
        (uniform_taps(9), 0.889, 28),
        (gauss_taps(10, 5), 0.802, 15),
        (gauss_taps(1, 9), None, 38),
        (gauss_taps(20, 9), 0.890, 29),
    ],
)
def test_published_blur_without_its_last_tap(taps, total, lost):
    """The published operator left out the last tap and saw 0 beyond the edges; so many of 256 values are below 0.03."""
    short = torch.nn.functional.pad(taps[:-1], (0, 1))
    if total is not None:
        assert float(short.sum()) == pytest.approx(total, abs=6e-4)
    wide = torch.zeros(256, 256 + 2 * len(taps), dtype=torch.float64)
    for i in range(256):
        wide[i, len(taps) + i - len(taps) // 2 :][: len(taps)] = short
    assert int((torch.linalg.svdvals(wide[:, len(taps) : -len(taps)]) < 3e-2).sum()) == lost


@pytest.mark.parametrize(
    ("factor", "least", "most"), [(2, 0.486, 0.707), (4, 0.349, 0.5), (8, 0.247, 0.354), (16, 0.176, 0.25)]
)
def test_published_bicubic_singular_values(factor, least, most):
    op = parse_operator(f"sr-bicubic:{factor}", (256, 256))
    assert float(op.rows.s.min()) == pytest.approx(least, abs=6e-4)
    assert float(op.rows.s.max()) == pytest.approx(most, abs=6e-4)
    assert int((op.sv > 0).sum()) == (256 // factor) ** 2


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("denoise", 3 * 65536),
        ("gray", 65536),
        ("sr:4", 3 * 64**2),
        ("sr-bicubic:4", 3 * 64**2),
        ("cs:0.25", 3 * 65536 // 4),
        ("cs-block:0.25", 3 * 64 * 256),
        ("blur:uniform:9", 3 * 65536),
    ],
)
def test_published_numbers_of_measurements(word, values):
    assert parse_operator(word, (256, 256)).A(torch.zeros(1, 3, 256, 256)).numel() == values


def test_published_singular_values():
    assert float(parse_operator("gray", (4, 4)).sv.max()) == pytest.approx(0.57735, abs=1e-5)
    assert float(parse_operator("sr:4", (8, 8)).sv.max()) == pytest.approx(1 / 4)
    assert set(parse_operator("cs:0.25", (16, 16)).sv.flatten().tolist()) == {0, 1}


def test_published_walsh_hadamard_transform():
    x = random(1, 1, 16, 8)
    flat = hadamard(x.flatten(-2))
    op = parse_operator("cs:0.5", (16, 8), seed=3)
    same(op.A(x), flat[..., op.kept])
    assert 0 in op.kept.tolist() and len(set(op.kept.tolist())) == 64
    assert set(parse_operator("cs:0.5", (16, 8), seed=4).kept.tolist()) != set(op.kept.tolist())


def test_pinv_of_means_and_of_grey_replicates():
    y = random(1, 3, 2, 2)
    same(parse_operator("sr:3", (6, 6)).pinv(y), y.repeat_interleave(3, 2).repeat_interleave(3, 3))
    same(parse_operator("gray", (2, 2)).pinv(y[:, :1]), y[:, :1].expand(-1, 3, -1, -1))
    same(parse_operator("sr:4", (5, 9)).A(torch.ones(1, 3, 5, 9).double()), torch.ones(1, 3, 2, 3).double())


def test_a_ratio_of_1_measures_everything():
    x = random(1, 3, 33, 40)
    for word in ("cs:1", "cs-block:1"):
        op = parse_operator(word, (33, 40))
        same(op.pinv(op.A(x)), x)
    assert [len(basis) for basis in block_sensing((33, 40), 0.5).bases] == [1024, 256, 32, 8]


def test_user_matrices():
    taps = torch.tensor([1.0, 2, 3], dtype=torch.float64)
    op = Separable(svd(banded(torch.arange(5), taps, 7)), svd(torch.eye(4)))
    x = random(1, 1, 7, 4)
    same(op.A(x)[0, 0], sum(taps[i] * x[0, 0, i : i + 5] for i in range(3)))


# ------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("fog", "Unknown degradation 'fog'; known: sr, sr-bicubic, gray, mask"),
        ("", "Unknown degradation ''"),
        ("gray+", "Unknown degradation ''"),
        ("sr", "'sr': it is written sr:4"),
        ("sr:two", "'sr:two': it is written sr:4"),
        ("sr:0", "a factor is a whole number from 1 on, not 0"),
        ("sr-bicubic:3", "known by 2, 4, 8 and 16, not 3"),
        ("gray:red", "'gray:red': it is written gray"),
        ("mask", "'mask': a mask is needed"),
        ("mask:3", "takes no options"),
        ("denoise:25", "takes no options"),
        ("blur", "a blur is one of gauss, uniform, aniso, motion, k.png"),
        ("blur:gauss", "it is written blur:gauss:SIGMA"),
        ("blur:gauss:0", "sigma must be above 0"),
        ("blur:gauss:nan", "sigma must be above 0"),
        ("blur:gauss:2:4", "odd number of taps"),
        ("blur:gauss:2:4.5", "a number of taps is whole, not 4.5"),
        ("blur:uniform:0", "odd number of taps"),
        ("blur:motion:0:0", "from 1 to 2047 pixels long"),
        ("blur:motion:1e9:0", "from 1 to 2047 pixels long"),
        ("blur:gauss:inf", "sigma must be above 0 and at most 2047"),
        ("blur:gauss:2:inf", "a number of taps is whole"),
        ("blur:gauss:700", "odd number of taps"),
        ("sr:9", "a picture of 8 x 8 has no blocks of 9 pixels"),
        ("blur:motion:9:inf", "a number of degrees"),
        ("blur:k.png", "sum is above 0"),
        ("cs:0", "above 0 and at most 1, not 0"),
        ("cs-block:2", "above 0 and at most 1, not 2"),
        ("cs:0.5+gray+sr:2", "'cs:0.5' gives no picture, so it must be the last word"),
        ("gray+gray", "grey twice"),
    ],
)
def test_errors_name_the_word(word, says):
    with pytest.raises(ValueError) as error:
        parse_operator(word, (8, 8), kernels={"k.png": torch.zeros(3, 3)})
    assert says in str(error.value)


def test_errors_of_sizes_and_tables():
    with pytest.raises(ValueError, match="must be 8 x 8 like the picture"):
        parse_operator("mask", (8, 8), keep=torch.ones(4, 4))
    with pytest.raises(ValueError, match="Unknown boundary 'zero'; known: reflect, circular"):
        parse_operator("blur:gauss:1", (8, 8), boundary="zero")
    with pytest.raises(ValueError, match="floor must be"):
        parse_operator("blur:gauss:1", (8, 8), floor=1)
    with pytest.raises(ValueError, match="pictures of 8 x 8, not 8 x 9"):
        parse_operator("sr:2", (8, 8)).A(torch.zeros(1, 3, 8, 9))
    with pytest.raises(ValueError, match="mask is for pictures of 3 x 8 x 8, not 1 x 1 x 8 x 8"):
        parse_operator("gray+mask", (8, 8), keep=torch.ones(3, 8, 8)).A(torch.zeros(1, 3, 8, 8))
    with pytest.raises(ValueError, match="3 channels, not 1"):
        Gray(torch.ones(3)).A(torch.zeros(1, 1, 8, 8))
