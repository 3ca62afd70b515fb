"""Our ADM U-Net is guided-diffusion's: same weights in, same output; and which checkpoints it is not for."""

import pytest
import torch
from official_adm import OfficialAdm, official_adm

from restorer.nets.adm_unet import AdmUNet, options_of, rename

HEADS = {"head_width": 16}
FORMS = {
    "as released": {"num_head_channels": 16},
    "three levels": {"channel_mult": (1, 1, 2), "attention_resolutions": (2, 4), "num_head_channels": 16},
    "two blocks a level": {"num_res_blocks": 2, "attention_resolutions": (1,), "num_head_channels": 16},
    "new order": {"num_head_channels": 16, "use_new_attention_order": True},
    "half as wide at first": {"model_channels": 64, "channel_mult": (0.5, 1), "num_head_channels": 16},
    "a number of heads": {"num_heads": 4},
    "classes": {"num_classes": 5, "num_head_channels": 16},
    "the time added": {"use_scale_shift_norm": False, "num_head_channels": 16},
    "resampled by convolutions": {"resblock_updown": False, "num_head_channels": 16, "channel_mult": (1, 1, 1)},
    "resampled without weights": {"resblock_updown": False, "conv_resample": False, "channel_mult": (1, 1, 1)},
    "one level": {"channel_mult": (1,), "attention_resolutions": (1,)},
    "no variance": {"out_channels": 3, "num_head_channels": 16},
}
OLD = FORMS["as released"]


def heads_of(form):
    width = form.get("num_head_channels")
    return {"head_width": width} if width else {"heads": form.get("num_heads", 1)}


def ours(state, form, **changes):
    options = options_of(state) | heads_of(form) | changes
    assert options.pop("arch") == "adm_unet"
    net = AdmUNet(**options).eval()
    net.load_state_dict(rename(state, net, new_order=form.get("use_new_attention_order", False)))
    return net


def asked(seed=1):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 16, 8, generator=rng), torch.tensor([3.0, 951.0])


@torch.no_grad()
@pytest.mark.parametrize("name", FORMS)
def test_it_says_what_the_official_net_says(name):
    form = FORMS[name]
    net = official_adm(**form)
    x, time = asked()
    label = (torch.tensor([4, 1]),) if "num_classes" in form else ()
    wanted = net(x, time, *label)
    assert wanted.std() > 0.05
    assert torch.allclose(ours(net.state_dict(), form)(x, time, *label), wanted, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_variance_can_be_left_out():
    net = official_adm(**OLD)
    x, time = asked()
    said = ours(net.state_dict(), OLD, out_channels=3)(x, time)
    assert said.shape == x.shape and torch.allclose(said, net(x, time)[:, :3], atol=1e-5)


@torch.no_grad()
def test_the_order_of_the_heads_matters():
    net = official_adm(**OLD)
    state, other = net.state_dict(), {**OLD, "use_new_attention_order": True}
    assert (ours(state, other)(*asked()) - net(*asked())).abs().max() > 1e-3


@torch.no_grad()
def test_a_net_of_classes_is_told_one():
    form = FORMS["classes"]
    net = official_adm(**form)
    x, time = asked()
    alone = ours(net.state_dict(), form, label=3)
    assert torch.allclose(alone(x, time), net(x, time, torch.tensor([3, 3])), atol=1e-5, rtol=1e-5)
    assert (alone(x, time) - alone(x, time, torch.tensor([1, 3])))[0].abs().max() > 1e-3


def test_every_weight_is_learned():
    net = ours(official_adm(**FORMS["classes"]).state_dict(), FORMS["classes"])
    net(*asked()).square().sum().backward()
    assert [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()] == []


DEEP = {"head_width": 64}
# As in the papers' configurations -> parameters and tensors of the official files.
RELEASED = {
    "256 uncond": (DEEP, 552_814_086, 566),
    "256": (DEEP | {"classes": 1000}, 553_838_086, 567),
    "512": (
        DEEP
        | {"width": 256, "widths": (128, 256, 256, 512, 512, 1024, 1024), "classes": 1000}
        | {"attention": (False,) * 4 + (True,) * 3},
        *(558_997_638, 645),
    ),
    "ffhq": (
        DEEP | {"widths": (128, 128, 256, 256, 512, 512), "layers": 1, "attention": (False,) * 4 + (True, False)},
        *(93_563_910, 362),
    ),
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_nets_have_the_released_sizes(name):
    options, parameters, tensors = RELEASED[name]
    with torch.device("meta"):
        net = AdmUNet(out_channels=6, **options)
    assert sum(weight.numel() for weight in net.parameters()) == parameters
    # What is one tensor there, qkv, is three here.
    assert (
        sum(
            not name.endswith((".key.weight", ".key.bias", ".value.weight", ".value.bias")) for name in net.state_dict()
        )
        == tensors
    )


def test_the_released_keys_and_shapes_are_read():
    """By the published map of the 256x256 net's blocks, down to the channels."""
    with torch.device("meta"):
        official = OfficialAdm(
            **{"model_channels": 256, "channel_mult": (1, 1, 2, 2, 4, 4), "num_res_blocks": 2},
            **{"attention_resolutions": (8, 16, 32), "num_head_channels": 64},
        ).state_dict()
        assert len(official) == 566
        assert official["output_blocks.2.2.in_layers.2.weight"].shape == (1024, 1024, 3, 3)
        assert official["output_blocks.11.1.in_layers.2.weight"].shape == (512, 512, 3, 3)
        assert official["input_blocks.14.1.qkv.weight"].shape == (3072, 1024, 1)
        options = options_of(official)
        assert (options["widths"], options["layers"]) == ([256, 256, 512, 512, 1024, 1024], 2)
        assert (options["attention"], options["resample"]) == ([False] * 3 + [True] * 3, "block")
        del options["arch"]
        rename(official, AdmUNet(**options | {"out_channels": 3, "head_width": 64}))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("out.0.bias"), "Not the 144 tensors of a guided-diffusion U-Net: missing: out.0.bias."),
        (lambda s: s.update(extra=torch.zeros(1)), "not known: extra."),
        (lambda s: s.update({"out.2.bias": torch.zeros(5)}), r"another shape: out.2.bias \(5,\) for \(6,\)."),
        (
            lambda s: s.pop("input_blocks.0.0.weight"),
            "expected 4 sizes in input_blocks.0.0.weight; found the keys time",
        ),
        (lambda s: s.update({"out.2.weight": torch.zeros(5)}), r"expected 4 sizes in out.2.weight; found \(5,\)."),
        (lambda s: s.update({"output_blocks.9999.1.conv.weight": torch.zeros(5)}), "not known: output_blocks.9999"),
        (lambda s: s.update({"input_blocks.9999.0.in_layers.0.bias": torch.zeros(5)}), "not known: input_blocks.9999"),
        (lambda s: s.clear(), "expected input_blocks and output_blocks; found nothing"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, words):
    state = dict(official_adm(**OLD).state_dict())
    change(state)
    with pytest.raises(ValueError, match=words):
        ours(state, OLD)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "32 channels are no whole number of heads of 64"),
        ({"heads": 0}, "32 channels cannot be shared by 0 heads"),
        ({"heads": 3}, "32 channels cannot be shared by 3 heads"),
        (HEADS | {"attention": (True,)}, "must be of equal length"),
        (HEADS | {"resample": "mean"}, "resample 'mean' must be one of block, conv, plain"),
        (HEADS | {"classes": 3, "label": 3}, "label 3 must be from 0 to 2"),
    ],
)
def test_options_that_make_no_net(options, words):
    with pytest.raises(ValueError, match=words):
        AdmUNet(**{"widths": (32, 32), "attention": (True, True)} | options)
