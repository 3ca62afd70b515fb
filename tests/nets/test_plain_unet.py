"""The plain U-Net: any size, time heard, no dependence on the picture's size, every weight trained."""

import inspect

import pytest
import torch

from restorer.nets import NETS
from restorer.nets.plain_unet import TIME_CHANNELS, Block, PlainUNet, sinusoid

SMALL = {"widths": (8, 12, 16), "depths": (1, 1, 2)}


def net_of(**options):
    """A net whose every weight is random: a fresh one says 0, and does not hear the time."""
    net = PlainUNet(**{**SMALL, **options})
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=rng) * weight[0].numel() ** -0.5)
    return net.eval()


def noise(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def times(n=1, t=500.0):
    return torch.full((n,), t)


@pytest.mark.parametrize(
    ("options", "multiple"),
    [
        ({}, 8),
        ({"patch": 1}, 4),
        ({"patch": 4}, 16),
        ({"widths": (8,), "depths": (2,)}, 2),
        ({"widths": (8, 8, 8, 8), "depths": (1, 0, 1, 1)}, 16),
        ({"in_channels": 3, "out_channels": 6}, 8),
    ],
)
def test_output_has_the_sides_of_the_input_at_every_multiple(options, multiple):
    net = net_of(**options)
    assert net.multiple == multiple
    for rows, columns in ((1, 1), (1, 3), (4, 2)):
        x = noise(2, options.get("in_channels", 6), rows * multiple, columns * multiple)
        with torch.no_grad():
            out = net(x, times(2))
        assert out.shape == (2, options.get("out_channels", 3), rows * multiple, columns * multiple)
        assert out.isfinite().all()


@pytest.mark.parametrize("name", NETS)
def test_every_net_builds_from_its_defaults_alone(name):
    assert all(p.kind is p.KEYWORD_ONLY for p in inspect.signature(NETS[name]).parameters.values())
    with torch.device("meta"):
        assert sum(p.numel() for p in NETS[name]().parameters()) > 0


def test_a_fresh_net_says_nothing_and_hears_no_time():
    net = PlainUNet(**SMALL)
    assert torch.equal(net(noise(1, 6, 16, 16), times()), torch.zeros(1, 3, 16, 16))


def test_default_size():
    assert sum(p.numel() for p in PlainUNet().parameters()) == 2_850_636


def test_levels_must_agree():
    with pytest.raises(ValueError, match="must be of equal length"):
        PlainUNet(widths=(8, 16), depths=(1,))


def test_time_matters_for_each_picture_of_a_batch():
    net, x = net_of(), noise(1, 6, 16, 16)
    with torch.no_grad():
        early, late, both = net(x, times(t=10.0)), net(x, times(t=900.0)), net(x.expand(2, -1, -1, -1), times(2))
        mixed = net(x.expand(2, -1, -1, -1), torch.tensor([10.0, 900.0]))
    assert (early - late).abs().max() > 1e-3
    assert torch.equal(both[0], both[1])
    assert torch.allclose(mixed, torch.cat([early, late]), atol=1e-5)


def test_sinusoid_tells_all_times_apart_and_is_float32():
    t = torch.arange(1000)
    code = sinusoid(t)
    assert (code.shape, code.dtype) == ((1000, TIME_CHANNELS), torch.float32)
    assert torch.allclose(code[0], torch.cat([torch.zeros(32), torch.ones(32)]))
    assert torch.allclose(code[:, 0], t.double().sin().float(), atol=1e-4)
    assert torch.allclose(code[:, 31], (t.double() / 10_000).sin().float(), atol=1e-6)
    assert (torch.cdist(code, code) + torch.eye(1000)).min() > 0.1


def test_time_scales_and_shifts_each_block():
    rng = torch.Generator().manual_seed(0)
    block = Block(4, 8)
    with torch.no_grad():
        for weight in block.parameters():
            weight.copy_(torch.randn(weight.shape, generator=rng) / 3)
        x, time = noise(2, 4, 5, 6), noise(2, 8)
        scale, shift = (part[:, :, None, None] for part in block.film(time).split(4, dim=1))
        inner = (1 + scale) * block.conv1(x) + shift
        wanted = x + block.conv2(inner * inner.sigmoid())
        assert torch.allclose(block(x, time), wanted, atol=1e-5)


def test_detail_passes_by_the_levels_below():
    """With nothing coming up from below, each level still has what it saw on the way down."""
    net = net_of()
    with torch.no_grad():
        for up in net.up:
            up.weight.zero_()
            up.bias.zero_()
        assert (net(noise(1, 6, 16, 16), times()) - net(noise(1, 6, 16, 16, seed=2), times())).abs().max() > 0.1


def reach(net, side):
    """How far, in pixels, an output at the middle of a picture looks: found by its gradient."""
    x = torch.zeros(1, 6, side, side, requires_grad=True)
    middle = side // 2
    block = slice(middle, middle + net.multiple)  # every position of a pixel within the net's grid
    net(x, times())[..., block, block].sum().backward()
    seen = x.grad.abs().sum((0, 1, 2)).nonzero().flatten()
    first, last = int(seen.min()), int(seen.max())
    assert first > 0
    assert last < side - 1
    return max(middle - first, last - (middle + net.multiple - 1))


def test_the_interior_of_a_large_picture_is_that_of_a_crop():
    """What makes tiles agree with the whole: nothing is pooled over the picture, so far pixels do not matter."""
    net = net_of()
    far = -(-reach(net, 256) // net.multiple) * net.multiple
    x = noise(1, 6, 2 * far + 48, 2 * far + 64)
    with torch.no_grad():
        whole = net(x, times())
        crop = net(x[..., 16:, 24:-8], times())
    inner = (slice(far, -far), slice(far, -far))
    assert crop[0, 0][inner].numel() > 0
    assert torch.allclose(whole[..., 16:, 24:-8][..., *inner], crop[..., *inner], atol=1e-5)


def test_the_default_net_looks_no_farther_than_a_tile_needs():
    """Its reach is a fact that tiling builds on."""
    net = PlainUNet(widths=(1, 1, 1), depths=(2, 2, 3))
    with torch.no_grad():
        for weight in net.parameters():
            weight.fill_(0.1)
    assert reach(net, 320) == 106


def test_gradient_reaches_every_weight():
    net = net_of()
    net(noise(2, 6, 16, 16), torch.tensor([10.0, 700.0])).square().mean().backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


def test_a_fresh_net_learns_from_its_exit_on():
    """Zeros at the exit and at the time's entry hold nothing back: after two steps all weights have a gradient."""
    torch.manual_seed(0)
    net = PlainUNet(**SMALL)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        (net(noise(1, 6, 16, 16), times()) - 1).square().mean().backward()
        optimizer.step()
    assert all(weight.grad.abs().sum() > 0 for weight in net.parameters())


def test_memory_layout_of_input_and_weights_changes_nothing():
    net, x = net_of(), noise(2, 6, 16, 24)
    with torch.no_grad():
        plain = net(x, times(2))
        fed_last = net(x.to(memory_format=torch.channels_last), times(2))
        held_last = net.to(memory_format=torch.channels_last)(x, times(2))
    assert torch.allclose(plain, fed_last, atol=1e-5)
    assert torch.allclose(plain, held_last, atol=1e-5)


def test_weights_set_the_precision_of_the_output():
    net, x = net_of(), noise(1, 6, 16, 16)
    with torch.no_grad():
        exact = net(x, times())
        rough = net.to(torch.bfloat16)(x.to(torch.bfloat16), times())
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().max() < 0.1 * exact.abs().max()
