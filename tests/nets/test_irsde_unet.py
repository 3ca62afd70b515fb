"""IR-SDE's U-Net, Refusion's NAFNet and compression U-Net: golden values, official weights, sizes, precision."""

import pytest
import torch
from official_irsde import compression, golden_pictures, golden_state, nafnet, random_state, unet

from restorer.nets import CODECS, NETS, irsde_unet, latent_unet, official
from restorer.nets import nafnet as naf
from restorer.nets.irsde_unet import IrsdeUNet, LinearAttention
from restorer.nets.latent_unet import LatentUNet
from restorer.nets.nafnet import NafNet

CLASSES = {**NETS, **CODECS}
TIME = torch.tensor([37.0])

# official shapes of a small net -> who reads them, with which flags
SMALL = {
    "unet": (unet(8, 2), irsde_unet, {}),
    "denoising unet": (unet(8, 2, 3, full=True), irsde_unet, {}),
    "nafnet": (nafnet(8, (1, 2), 1, (1, 1)), naf, {}),
    "denoising nafnet": (nafnet(8, (1, 2), 1, (1, 1), channels=3), naf, {}),
    "latent nafnet": (nafnet(8, (1, 2), 1, (1, 1), 8, 4), naf, {"global_skip": True}),
    "codec": (compression(4, (2, 3), 5), latent_unet, {}),
}
WITH_TIME = [name for name in SMALL if name != "codec"]


def build(state, module, **flags):
    options = module.options_from(state, **flags)
    net = CLASSES[options.pop("arch")](**options)
    net.load_state_dict(module.rename(state))
    return net.eval().requires_grad_(False)


def random_net(name):
    shapes, module, flags = SMALL[name]
    return build(random_state(shapes), module, **flags)


def fed(name, n=1, height=13, width=18):
    return torch.rand(n, channels_of(name), height, width, generator=torch.Generator().manual_seed(0))


def channels_of(name):
    shapes = SMALL[name][0]
    return shapes.get("intro.weight", shapes.get("init_conv.weight"))[1]


def outputs_of(name):
    shapes = SMALL[name][0]
    return shapes.get("ending.weight", shapes.get("final_conv.weight"))[0]


# ------------------------------------------------------------------------------------------------ golden values

# mean, mean size, first three values of the first row, last three of the last row
GOLDEN = {
    "unet": (-0.08869, 0.533184, -0.0663917, -0.154292, -0.173339, -0.525599, -0.529839, -0.539575),
    "denoising unet": (-0.0732066, 0.486604, -0.0280012, -0.110207, -0.130555, -0.430137, -0.4291, -0.431742),
    "nafnet": (0.0109878, 0.196389, -0.259846, -0.369747, -0.431889, 0.37979, 0.380623, 0.329337),
    "latent nafnet": (0.00835559, 0.379109, 0.355739, 0.516393, 0.537112, -0.319761, -0.318574, -0.306205),
    "plain": (0.0031088, 0.196961, 0.188009, 0.268167, 0.279847, -0.174086, -0.175356, -0.167189),
    "encode": (0.000567263, 0.00404026, -0.00564992, -0.00779853, -0.00515153, 0.00359278, 0.0010895, 0.000110474),
    "decode": (-0.127524, 0.220167, -0.0516578, -0.0787416, -0.0647184, -0.106254, -0.0868268, -0.0309721),
}


def told(y):
    return [float(y.mean()), float(y.abs().mean()), *y[0, 0, 0, :3].tolist(), *y[0, -1, -1, -3:].tolist()]


@pytest.mark.parametrize("name", ["unet", "denoising unet", "nafnet", "latent nafnet", "plain"])
def test_nets_answer_as_the_official_ones(name):
    shapes, module, flags = SMALL["latent nafnet" if name == "plain" else name]
    net = build(golden_state(shapes), module, **({} if name == "plain" else flags))
    x, mu = golden_pictures(outputs_of("latent nafnet" if name == "plain" else name))
    y = net(x if name == "denoising unet" else torch.cat([x - mu, mu], dim=1), TIME)
    assert y.shape == x.shape
    assert told(y) == pytest.approx(GOLDEN[name], rel=1e-5)


def test_the_codec_answers_as_the_official_one():
    net = build(golden_state(SMALL["codec"][0]), latent_unet)
    x, _ = golden_pictures()
    latent, hidden = net.encode(x)
    assert latent.shape == (1, 5, 8, 10)
    assert told(latent) == pytest.approx(GOLDEN["encode"], rel=1e-5, abs=2e-8)
    assert told(net.decode(latent, hidden)) == pytest.approx(GOLDEN["decode"], rel=1e-5)


# ------------------------------------------------------------------------------------------------ official weights

OFFICIAL = [
    (unet(), irsde_unet, 137_147_523, 151, {"in_channels": 6, "width": 64, "depth": 4, "attention": "linear"}),
    (unet(32), irsde_unet, 34_799_171, 151, {"width": 32, "depth": 4}),
    (unet(32, 5), irsde_unet, 135_346_755, 183, {"width": 32, "depth": 5}),
    (unet(64, 5), irsde_unet, 537_209_987, 183, {"width": 64, "depth": 5}),
    (unet(64, 4, 3, full=True), irsde_unet, 137_137_091, 150, {"in_channels": 3, "attention": "full"}),
    (nafnet(), naf, 76_608_387, 668, {"encoder": [1, 1, 1, 28], "middle": 1, "decoder": [1, 1, 1, 1]}),
    (nafnet(channels=3), naf, 76_606_659, 668, {"in_channels": 3, "out_channels": 3, "width": 64}),
    (nafnet(channels=16, out=8), naf, 76_617_032, 668, {"in_channels": 16, "out_channels": 8}),
    (compression(), latent_unet, 2_007_859, 69, {"width": 8, "mults": [4, 8, 8, 16], "latent_channels": 8}),
    (compression(64, (1, 2, 4), 4), latent_unet, 6_155_139, 55, {"width": 64, "mults": [1, 2, 4]}),
]


@pytest.mark.parametrize(("shapes", "module", "parameters", "tensors", "wanted"), OFFICIAL)
def test_official_nets_have_their_tensors_and_parameters(shapes, module, parameters, tensors, wanted):
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    options = module.options_from(state)
    assert {key: options[key] for key in wanted} == wanted
    ours = module.rename(state)
    with torch.device("meta"):
        net = CLASSES[options.pop("arch")](**options)
    net.load_state_dict(ours, assign=True)
    assert len(state) == len(ours) == tensors
    assert sum(p.numel() for p in net.parameters()) == parameters


def test_the_official_shapes_are_those_of_the_released_files():
    """Some of the list, by hand, of the conditional U-Net of 64 channels and four levels."""
    shapes = unet()
    for key, shape in {
        "init_conv.weight": (64, 6, 7, 7),
        "time_mlp.1.weight": (256, 64),
        "time_mlp.3.bias": (256,),
        "downs.3.0.mlp.1.weight": (1024, 256),
        "downs.2.2.fn.fn.to_qkv.weight": (384, 256, 1, 1),
        "downs.0.3.weight": (128, 64, 4, 4),
        "downs.3.3.weight": (1024, 512, 3, 3),
        "ups.0.0.block1.proj.weight": (1024, 1536, 3, 3),
        "ups.3.1.res_conv.weight": (128, 192, 1, 1),
        "ups.0.3.1.weight": (512, 1024, 3, 3),
        "ups.3.3.weight": (64, 128, 3, 3),
        "mid_attn.fn.fn.to_out.1.g": (1, 1024, 1, 1),
        "final_res_block.res_conv.weight": (64, 128, 1, 1),
        "final_conv.weight": (3, 64, 3, 3),
    }.items():
        assert shapes[key] == shape
    for key in ("init_conv.bias", "downs.3.3.bias", "ups.3.3.bias", "downs.0.0.res_conv.weight"):
        assert key not in shapes
    denoising = unet(channels=3, full=True)
    assert denoising["mid_attn.fn.fn.to_out.weight"] == (1024, 128, 1, 1)
    assert "mid_attn.fn.fn.to_out.1.g" not in denoising
    assert nafnet()["time_mlp.1.weight"] == (512, 64) and nafnet()["encoders.3.27.mlp.1.weight"] == (2048, 128)


@pytest.mark.parametrize(
    ("net", "shapes"),
    [
        (IrsdeUNet, unet()),
        (NafNet, nafnet()),
        (LatentUNet, compression()),
    ],
)
def test_the_defaults_are_an_official_net(net, shapes):
    with torch.device("meta"):
        assert sorted(p.shape for p in net().parameters()) == sorted(map(torch.Size, shapes.values()))


@pytest.mark.parametrize("name", SMALL)
def test_a_parallel_wrapper_is_passed_over(name):
    shapes, module, flags = SMALL[name]
    state = random_state(shapes)
    wrapped = {f"module.{key}": value for key, value in state.items()}
    assert module.options_from(wrapped, **flags) == module.options_from(state, **flags)
    ours, again = module.rename(state), module.rename(wrapped)
    assert ours.keys() == again.keys() and all(torch.equal(ours[key], again[key]) for key in ours)
    assert official.unwrapped(state) == state


@pytest.mark.parametrize("name", SMALL)
def test_weights_that_do_not_fit_are_named_as_the_official_net_calls_them(name):
    shapes, module, _ = SMALL[name]
    state = random_state(shapes)
    missing, wide = (
        ("final_conv.bias", "init_conv.weight") if "init_conv.weight" in state else ("ending.bias", "intro.bias")
    )
    more = {"module.x": torch.zeros(1)}
    wrong = state[wide][:-1] if wide == "intro.bias" else state[wide][..., :2]
    for changed, words in (
        ({key: value for key, value in state.items() if key != missing}, f"missing: {missing}."),
        ({**state, **more}, "not known: module.x."),
        ({**state, wide: wrong}, f"of another shape: {wide} "),
    ):
        with pytest.raises(ValueError, match=f"Not the {len(state)} tensors of an official ") as error:
            module.rename(changed)
        assert words in str(error.value)


@pytest.mark.parametrize("module", [irsde_unet, naf, latent_unet])
@pytest.mark.parametrize(
    "state",
    [
        {},
        {"a": torch.zeros(1)},
        {"init_conv.weight": torch.zeros(8), "final_conv.weight": torch.zeros(3), "downs.0.3.weight": torch.zeros(1)},
        {"intro.weight": torch.zeros(()), "ending.weight": torch.zeros(3)},
    ],
)
def test_what_is_no_official_net_is_refused(module, state):
    with pytest.raises(ValueError, match=r"No weights of an official .* expected convolutions .* found "):
        module.rename(state)


def test_options_that_cannot_be_are_refused():
    for make, words in (
        (lambda: IrsdeUNet(width=3), "width must be even and at least 4"),
        (lambda: IrsdeUNet(width=8, depth=0), "depth at least 1; not 8 and 0"),
        (lambda: IrsdeUNet(width=8, depth=1, attention="half"), "attention must be one of linear, full"),
        (lambda: NafNet(width=2), "width must be even"),
        (lambda: NafNet(width=8, encoder=(1,), decoder=()), "must be of equal length"),
        (lambda: LatentUNet(mults=()), "at least one level"),
    ):
        with pytest.raises(ValueError, match=words):
            make()


# ------------------------------------------------------------------------------------------------ sizes


@pytest.mark.parametrize("name", WITH_TIME)
def test_an_answer_is_as_large_as_the_picture(name):
    net = random_net(name)
    for height in (9, 15, 16, 17):
        for width in (9, 15, 16, 17):
            y = net(fed(name, 1, height, width), TIME)
            assert y.shape == (1, outputs_of(name), height, width) and y.isfinite().all()
    with torch.device("meta"):
        net = net.to("meta")
        assert net(torch.empty(2, channels_of(name), 321, 481), torch.empty(2)).shape[2:] == (321, 481)
    assert net.multiple == 1


@pytest.mark.parametrize("size", [(9, 9), (15, 17), (16, 16), (9, 33), (121, 83)])
def test_a_decoded_picture_is_as_large_as_the_encoded_one(size):
    net = random_net("codec")
    x = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    latent, hidden = net.encode(x)
    assert latent.shape == (1, 5, *(-(-side // 4) * 2 for side in size))
    net.encode(x[..., :7, :9])  # nothing of another picture stays
    y = net.decode(latent, hidden)
    assert y.shape == x.shape and torch.equal(y, net(x))


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
@torch.no_grad()
def test_the_shortest_side_is_known(depth):
    side = 2 ** (depth - 1) + 1
    unet, codec = IrsdeUNet(in_channels=3, width=8, depth=depth), LatentUNet(width=4, mults=(1,) * depth)
    assert unet.minimum == codec.minimum == side
    for net, time in ((unet, (TIME,)), (codec, ())):
        for height in range(side, 2 * side):
            assert net(torch.zeros(1, 3, height, side), *time).shape == (1, 3, height, side)
        with pytest.raises(RuntimeError):
            net(torch.zeros(1, 3, side - 1, side), *time)


def test_a_nafnet_takes_pictures_of_one_pixel():
    assert NafNet.minimum == 1
    assert random_net("nafnet")(fed("nafnet", 1, 1, 1), TIME).shape == (1, 3, 1, 1)


def test_the_unet_mirrors_and_the_nafnet_puts_zeros():
    """A padded picture answers as the unpadded one, in the part that is left of it."""
    x = fed("unet", 1, 13, 18)
    for name, padded in (
        ("unet", torch.nn.functional.pad(x, (0, 2, 0, 3), mode="reflect")),
        ("nafnet", torch.nn.functional.pad(x, (0, 2, 0, 3))),
    ):
        net = random_net(name)
        assert torch.equal(net(x, TIME), net(padded, TIME)[..., :13, :18])


# ------------------------------------------------------------------------------------------------ behaviour


@pytest.mark.parametrize("name", WITH_TIME)
def test_pictures_of_a_batch_do_not_mix_and_time_matters(name):
    net, x, times = random_net(name), fed(name, 2), torch.tensor([3.0, 90.0])
    together = net(x, times)
    alone = torch.cat([net(x[n : n + 1], times[n : n + 1]) for n in (0, 1)])
    assert torch.allclose(together, alone, atol=1e-5)
    assert (net(x, times.flip(0)) - together).std() > 1e-3 * together.std()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", SMALL)
def test_half_precision_and_memory_layout_keep_the_answer(name, dtype):
    net, x = random_net(name), fed(name)
    time = (TIME,) if name != "codec" else ()
    wanted = net(x, *time)
    net = net.to(memory_format=torch.channels_last)
    assert torch.allclose(net(x.to(memory_format=torch.channels_last), *time), wanted, atol=1e-5)
    rough = net.to(dtype)(x.to(dtype), *time)
    assert rough.dtype == dtype
    assert (rough.float() - wanted).abs().max() < (0.1 if dtype == torch.bfloat16 else 0.01) * wanted.abs().max()


def test_linear_attention_keeps_its_small_sums_in_half_precision():
    """Quotients by the number of pixels are below what float16 holds; the last layer makes something of them."""
    attend = LinearAttention(8).requires_grad_(False)
    rng = torch.Generator().manual_seed(0)
    for weight in attend.parameters():
        weight.copy_(torch.randn(weight.shape, generator=rng))
    attend.qkv.weight[256:] *= 0.001
    attend.out[0].weight.mul_(10_000)
    attend.out[0].bias.zero_()
    x = torch.randn(1, 8, 128, 128, generator=rng)
    attend = attend.half()
    rough = attend(x.half()).float()
    wanted = attend.float()(x.half().float())
    assert (wanted - x).std() > 0.01
    assert (rough - wanted).std() < 0.01 * (wanted - x).std()


@pytest.mark.parametrize("name", SMALL)
def test_gradient_reaches_every_weight(name):
    net = random_net(name).requires_grad_(True)
    net(fed(name, 2), *((torch.tensor([3.0, 90.0]),) if name != "codec" else ())).square().mean().backward()
    for key, weight in net.named_parameters():
        assert weight.grad is not None and weight.grad.abs().sum() > 0, key
