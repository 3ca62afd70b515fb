"""The official U-Net: its weights by their official names, its parts against plain arithmetic, its three forms."""

import re

import pytest
import torch
import torch.nn.functional as F
from official_rddm import official_shapes, official_state, wave

from restorer.nets import NETS, attention
from restorer.nets.attention import ChannelNorm
from restorer.nets.rddm_unet import (
    FORMS,
    Attention,
    Block,
    LinearAttention,
    RddmUNet,
    TwoRddmUNets,
    options_of,
    rename,
)

ARCH = {"bare": "rddm_unet", "one": "rddm_unet", "two": "rddm_unet_two", "shared": "rddm_unet_shared"}

SMALL = {"dim": 16, "dim_mults": (1, 2)}


def net_from(state):
    options = options_of(state)
    net = NETS[options.pop("arch")](**options)
    net.load_state_dict(rename(state))
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def states():
    """Official weights of small nets with two levels."""
    return {form: official_state(form, 6, 8, (1, 2)) for form in ARCH}


@pytest.fixture(scope="module")
def nets(states):
    return {form: net_from(state) for form, state in states.items()}


def picture(n=1, channels=6, height=8, width=12):
    return torch.cat([wave((1, channels, height, width), 0.37 + 0.1 * k, k) for k in range(n)])


def randomised(module):
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=rng) * (0.5 if p.ndim == 1 else p[0].numel() ** -0.5))
    return module.requires_grad_(False)


# official weights


@pytest.mark.parametrize(
    ("form", "tensors", "parameters"),
    [
        ("bare", 276, {3: 36_251_779, 6: 36_261_187, 9: 36_270_595}),
        ("one", 276, {3: 36_251_779, 6: 36_261_187, 9: 36_270_595}),
        ("two", 552, {3: 72_503_558, 6: 72_522_374, 9: 72_541_190}),
        ("shared", 396, {3: 51_971_206, 6: 51_980_614, 9: 51_990_022}),
    ],
)
def test_official_nets_have_their_tensors_and_parameters(form, tensors, parameters):
    for channels, count in parameters.items():
        state = {key: torch.empty(shape, device="meta") for key, shape in official_shapes(form, channels).items()}
        options = options_of(state)
        assert options == {"arch": ARCH[form], "in_channels": channels, "dim": 64, "dim_mults": [1, 2, 4, 8]}
        ours = rename(state)
        assert (len(state), len(ours)) == (tensors, tensors)
        with torch.device("meta"):
            net = NETS[options.pop("arch")](**options)
        net.load_state_dict(ours, assign=True)
        assert sum(p.numel() for p in net.parameters()) == count
        assert net.multiple == 8


@pytest.mark.parametrize("arch", FORMS)
def test_the_defaults_are_the_official_restoration_net(arch):
    with torch.device("meta"):
        net = NETS[arch]()
        assert net(torch.empty(1, 6, 16, 24), torch.empty(1)).shape == (1, 3 if arch == "rddm_unet" else 6, 16, 24)
    form = {arch: form for form, arch in ARCH.items()}[arch]
    assert sorted(p.shape for p in net.parameters()) == sorted(map(torch.Size, official_shapes(form).values()))


@pytest.mark.parametrize("mults", [(1,), (1, 2), (2, 2, 3)])
@pytest.mark.parametrize("form", ARCH)
def test_every_official_size_is_read_from_its_weights(form, mults):
    net = net_from(official_state(form, 3, 16, mults))
    assert net.multiple == 2 ** (len(mults) - 1)
    x = picture(2, 3, net.multiple, 2 * net.multiple)
    outputs = 3 if ARCH[form] == "rddm_unet" else 6
    assert net(x, torch.tensor([3.0, 700.0])).shape == (2, outputs, *x.shape[2:])


@pytest.mark.parametrize("form", ARCH)
def test_every_weight_comes_to_its_place_and_only_filters_of_blocks_change(states, form):
    state, ours = states[form], rename(states[form])
    standardised = [key for key in state if key.endswith("proj.weight")]
    assert len(standardised) == {"bare": 22, "one": 22, "two": 44, "shared": 32}[form]

    def sums(tensors):
        return sorted(float(v.double().sum()) for v in tensors)

    assert sums(v for key, v in state.items() if key not in standardised) == sums(
        v for key, v in ours.items() if not re.search(r"conv\d.weight$", key)
    )


def test_folded_weights_do_what_weights_standardised_in_each_call_do():
    """Against the definition, in float32 and with its own mean and variance."""
    state = official_state("bare", 6, 8, (1, 2))
    ours = rename(state)
    weight, x = state["ups.0.0.block1.proj.weight"], picture(2, 24)
    mean = weight.sum(dim=(1, 2, 3), keepdim=True) / weight[0].numel()
    variance = (weight - mean).square().sum(dim=(1, 2, 3), keepdim=True) / weight[0].numel()
    wanted = F.conv2d(x, (weight - mean) / (variance + 1e-5).sqrt(), padding=1)
    got = F.conv2d(x, ours["decoder.up.0.first.conv1.weight"], padding=1)
    assert torch.allclose(got, wanted, rtol=1e-4, atol=1e-4)
    assert got.dtype == torch.float32


def test_a_filter_without_variance_is_standardised_to_nothing():
    state = official_state("bare", 6, 8, (1,))
    state["mid_block1.block1.proj.weight"] = torch.ones_like(state["mid_block1.block1.proj.weight"])
    assert torch.equal(rename(state)["encoder.middle1.conv1.weight"], torch.zeros(8, 8, 3, 3))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda s: s.pop("unet1.time_mlp.3.bias"), "missing: unet1.time_mlp.3.bias."),
        (lambda s: s.update({"unet0.extra": torch.zeros(1)}), "not known: unet0.extra."),
        (lambda s: s.update({"alpha_res": torch.zeros(1)}), "not known: alpha_res."),
        (
            lambda s: s.update({"unet1.init_conv.weight": torch.zeros(8, 3, 7, 7)}),
            "of another shape: unet1.init_conv.weight (8, 3, 7, 7) for (8, 6, 7, 7).",
        ),
        (
            lambda s: s.update({"unet0.g": s.pop("unet0.mid_attn.fn.norm.g")}),
            "missing: unet0.mid_attn.fn.norm.g; not known: unet0.g.",
        ),
        (
            lambda s: (
                [s.pop(f"unet1.time_mlp.{n}") for n in ("1.weight", "1.bias", "3.weight", "3.bias")]
                + [s.pop("unet1.final_conv.bias")]
            ),
            "missing: unet1.time_mlp.1.weight, unet1.time_mlp.1.bias, unet1.time_mlp.3.weight, "
            "unet1.time_mlp.3.bias and 1 more.",
        ),
    ],
)
def test_weights_that_do_not_fit_are_named_as_the_official_net_calls_them(states, spoil, words):
    state = dict(states["two"])
    spoil(state)
    with pytest.raises(ValueError, match="Not the 320 tensors of an official rddm_unet_two ") as error:
        rename(state)
    assert str(error.value).endswith(f"(in_channels 6, dim 8, dim_mults [1, 2]): {words}")


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ({}, "found nothing."),
        ({"a": torch.zeros(1), "b": torch.zeros(2)}, "found a, b."),
        ({"init_conv.weight": torch.zeros(8), "downs.0.3.weight": torch.zeros(())}, "found init_conv.weight, "),
        ({f"model.unet0.{n}": torch.zeros(1) for n in range(9)}, "model.unet0.3 and 5 more."),
    ],
)
def test_what_is_no_official_net_is_refused(state, found):
    for read in (options_of, rename):
        with pytest.raises(
            ValueError, match=r"No weights of an official RDDM U-Net: expected .* init_conv\.weight"
        ) as e:
            read(state)
        assert found in str(e.value)


# forms


def test_one_net_is_the_same_with_and_without_its_prefix(states):
    one = {key.removeprefix("unet0."): value for key, value in states["one"].items()}
    x, time = picture(2), torch.tensor([10.0, 900.0])
    assert torch.equal(net_from(one)(x, time), net_from(states["one"])(x, time))


def test_two_nets_are_two_nets(states, nets):
    """Each says what it would alone, at its own time where it is told one."""
    x, times = picture(2), torch.tensor([[10.0, 20.0], [900.0, 300.0]])
    alone = [
        net_from({k.removeprefix(f"unet{n}."): v for k, v in states["two"].items() if k.startswith(f"unet{n}.")})
        for n in (0, 1)
    ]
    said = [net(x, times[:, n]) for n, net in enumerate(alone)]
    assert (said[0] - said[1]).abs().max() > 0.01
    assert torch.allclose(nets["two"](x, times), torch.cat(said, dim=1), atol=1e-6)
    same = torch.cat([net(x, times[:, 0]) for net in alone], dim=1)
    assert torch.allclose(nets["two"](x, times[:, 0]), same, atol=1e-6)


@pytest.mark.parametrize("columns", [1, 3])
def test_two_nets_take_two_times(nets, columns):
    with pytest.raises(ValueError, match="values to unpack"):
        nets["two"](picture(2), torch.zeros(2, columns))


def test_a_shared_net_has_one_way_down_and_a_residual_without_skips(states):
    """With nothing coming up from the middle the residual is blind to the picture, and the noise is not."""
    state = dict(states["shared"])
    for key in ("ups.0.0.", "ups_no_skip.0.0."):
        for part in ("block1.proj.weight", "res_conv.weight"):
            if key + part in state:
                state[key + part] = torch.zeros_like(state[key + part])
    net = net_from(state)
    net.encoder.middle2 = _Nothing()
    time = torch.tensor([10.0])
    first, second = (net(picture(1) * scale, time) for scale in (1.0, 2.0))
    assert torch.equal(first[:, :3], second[:, :3])
    assert (first[:, 3:] - second[:, 3:]).abs().max() > 0.01


class _Nothing(torch.nn.Module):
    def forward(self, x, time):
        return 0 * x


@pytest.mark.parametrize("form", FORMS)
def test_pictures_of_a_batch_do_not_mix_and_time_matters(form):
    net = randomised(NETS[form](**SMALL))
    x, time = picture(2), torch.tensor([10.0, 900.0])
    together = net(x, time)
    assert torch.allclose(together, torch.cat([net(x[n : n + 1], time[n : n + 1]) for n in (0, 1)]), atol=1e-5)
    assert (net(x, time.flip(0)) - together).abs().max() > 1e-3


@pytest.mark.parametrize("form", FORMS)
def test_gradient_reaches_every_weight(form):
    net = randomised(NETS[form](**SMALL)).requires_grad_(True)
    net(picture(2), torch.tensor([10.0, 900.0])).square().mean().backward()
    for name, weight in net.named_parameters():
        assert weight.grad is not None, name
        assert weight.grad.abs().sum() > 0, name


@pytest.mark.parametrize("form", FORMS)
def test_memory_layout_and_half_precision_keep_the_answer(form):
    net, x, time = randomised(NETS[form](**SMALL)), picture(2), torch.tensor([10.0, 900.0])
    wanted = net(x, time)
    net = net.to(memory_format=torch.channels_last)
    assert torch.allclose(net(x.to(memory_format=torch.channels_last), time), wanted, atol=1e-5)
    rough = net.to(torch.bfloat16)(x.to(torch.bfloat16), time)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - wanted).abs().max() < 0.1 * wanted.abs().max()


def test_one_net_can_say_residual_and_noise_side_by_side():
    assert RddmUNet(out_channels=6, **SMALL)(picture(1), torch.zeros(1)).shape == (1, 6, 8, 12)
    assert TwoRddmUNets(**SMALL).multiple == 2


# parts


def test_channel_norm_is_over_the_channels_of_each_pixel():
    norm, x = randomised(ChannelNorm(16)), picture(2, 16)
    mean = x.mean(dim=1, keepdim=True)
    variance = (x - mean).square().mean(dim=1, keepdim=True)
    assert torch.allclose(norm(x), (x - mean) / (variance + 1e-5).sqrt() * norm.gain, atol=1e-5)


@pytest.mark.parametrize("width_in", [16, 24])
def test_a_block_is_its_definition(width_in):
    block, x, time = randomised(Block(width_in, 16, 8)), picture(2, width_in), wave((2, 8), 0.7, 0)
    scale, shift = (part[:, :, None, None] for part in (time @ block.film.weight.mT + block.film.bias).split(16, dim=1))

    def normed(h, norm):
        groups = h.reshape(2, 8, -1)
        groups = (groups - groups.mean(-1, keepdim=True)) / (groups.var(-1, keepdim=True, correction=0) + 1e-5).sqrt()
        return groups.reshape(h.shape) * norm.weight[:, None, None] + norm.bias[:, None, None]

    h = normed(block.conv1(x), block.norm1) * (scale + 1) + shift
    h = normed(block.conv2(h * h.sigmoid()), block.norm2)
    assert torch.allclose(block(x, time), h * h.sigmoid() + block.skip(x), atol=1e-5)


def test_linear_attention_is_its_definition_head_by_head():
    attend, x = randomised(LinearAttention(16)), picture(2, 16, 4, 6)
    q, k, v = attend.qkv(attend.norm(x)).flatten(2).chunk(3, dim=1)
    heads = []
    for head in range(4):
        part = slice(32 * head, 32 * head + 32)
        query = q[:, part].softmax(dim=1) * 32**-0.5
        context = torch.einsum("ndp,nep->nde", k[:, part].softmax(dim=2), v[:, part] / 24)
        heads.append(torch.einsum("nde,ndp->nep", context, query))
    y = torch.cat(heads, dim=1).reshape(2, 128, 4, 6)
    assert torch.allclose(attend(x), x + attend.out[1](attend.out[0](y)), atol=1e-5)


@pytest.mark.parametrize("at_once", [1, 7, 23])
def test_linear_attention_by_parts_is_that_of_the_whole(monkeypatch, at_once):
    attend, x = randomised(LinearAttention(16)).double().requires_grad_(), 9 * picture(2, 16, 4, 6).double()
    whole = attend(x)
    slopes = torch.autograd.grad(whole.square().sum(), list(attend.parameters()))
    monkeypatch.setattr(attention, "AT_ONCE", at_once)
    parts = attend(x)
    assert torch.allclose(parts, whole, rtol=1e-12, atol=1e-12)
    for slope, wanted in zip(torch.autograd.grad(parts.square().sum(), list(attend.parameters())), slopes, strict=True):
        assert torch.allclose(slope, wanted, rtol=1e-9, atol=1e-9)


def test_attention_is_its_definition_head_by_head():
    attend, x = randomised(Attention(16)), picture(2, 16, 4, 6)
    q, k, v = attend.qkv(attend.norm(x)).flatten(2).chunk(3, dim=1)
    heads = []
    for head in range(4):
        part = slice(32 * head, 32 * head + 32)
        weight = (torch.einsum("ndi,ndj->nij", q[:, part], k[:, part]) * 32**-0.5).softmax(dim=2)
        heads.append(torch.einsum("nij,ndj->ndi", weight, v[:, part]))
    y = torch.cat(heads, dim=1).reshape(2, 128, 4, 6)
    assert torch.allclose(attend(x), x + attend.out(y), atol=1e-5)
