"""Our noisy classifier is guided-diffusion's: same weights in, same output; and which checkpoints it is not for."""

import pytest
import torch
from official_adm import official_adm
from official_adm_encoder import OfficialEncoder, official_encoder

from restorer.nets.adm_encoder import AdmEncoder, options_of, rename

FORMS = {
    "as released": {},
    "three levels": {"channel_mult": (1, 1, 2), "attention_resolutions": (2, 4)},
    "two blocks a level": {"num_res_blocks": 2, "attention_resolutions": (1, 2)},
    "half as wide at first": {"model_channels": 64, "channel_mult": (0.5, 1)},
    "the time added": {"use_scale_shift_norm": False},
    "resampled by convolutions": {"resblock_updown": False},
    "resampled without weights": {"resblock_updown": False, "conv_resample": False},
    "one level": {"channel_mult": (1,), "attention_resolutions": (1,)},
}
PLAIN = FORMS["as released"]


def ours(state, **changes):
    options = options_of(state) | {"head_width": 16} | changes
    assert options.pop("arch") == "adm_encoder"
    net = AdmEncoder(**options).eval()
    net.load_state_dict(rename(state, net))
    return net


def asked(seed=1, side=8):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, side, side, generator=rng), torch.tensor([3.0, 951.0])


@torch.no_grad()
@pytest.mark.parametrize("name", FORMS)
def test_it_says_what_the_official_net_says(name):
    net = official_encoder(**FORMS[name])
    wanted = net(*asked())
    assert wanted.shape == (2, 5) and wanted.std() > 0.05
    assert torch.allclose(ours(net.state_dict())(*asked()), wanted, atol=1e-5, rtol=1e-5)


def test_every_weight_is_learned():
    net = ours(official_encoder(**PLAIN).state_dict())
    net(*asked()).square().sum().backward()
    # A key's bias moves all scores of a query alike, which the softmax does not see.
    still = [name for name, weight in net.named_parameters() if weight.grad is None or not weight.grad.any()]
    assert [name for name in still if not name.endswith("key.bias")] == []


def test_pictures_of_another_size_are_refused():
    net = ours(official_encoder(**PLAIN).state_dict())
    with pytest.raises(ValueError, match="knows pictures of 8x8 pixels, not 16x16"):
        net(*asked(side=16))


RELEASED = {
    256: ({"channel_mult": (1, 1, 2, 2, 4, 4), "attention_resolutions": (8, 16, 32)}, 54_096_360, 249),
    512: ({"channel_mult": (0.5, 1, 1, 2, 2, 4, 4), "attention_resolutions": (16, 32, 64)}, 54_448_360, 281),
}


@pytest.mark.parametrize("size", RELEASED)
def test_released_nets_have_the_released_sizes_and_are_read(size):
    form, parameters, tensors = RELEASED[size]
    form |= {"image_size": size, "model_channels": 128, "num_res_blocks": 2, "num_head_channels": 64}
    with torch.device("meta"):
        official = OfficialEncoder(**form, out_channels=1000).state_dict()
        options = options_of(official)
        net = AdmEncoder(**{key: value for key, value in options.items() if key != "arch"})
        rename(official, net)
    assert len(official) == tensors
    assert sum(weight.numel() for weight in net.parameters()) == parameters
    assert (options["size"], options["classes"], options["layers"]) == (size, 1000, 2)
    assert official["out.2.positional_embedding"].shape == (512, 65)
    if size == 256:
        with torch.device("meta"):
            default = AdmEncoder()
        assert {k: v.shape for k, v in default.state_dict().items()} == {
            k: v.shape for k, v in net.state_dict().items()
        }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("out.0.bias"), "tensors of a guided-diffusion classifier: missing: out.0.bias."),
        (lambda s: s.update(extra=torch.zeros(1)), "not known: extra."),
        (lambda s: s.update({"out.2.c_proj.bias": torch.zeros(4)}), r"shape: out.2.c_proj.bias \(4,\) for \(5,\)."),
        (lambda s: s.update({"out.2.positional_embedding": torch.zeros(64, 19)}), r"\(64, 19\) for \(64, 17\)"),
        (lambda s: s.pop("out.2.positional_embedding"), "expected 2 sizes in out.2.positional_embedding; found the"),
        (lambda s: s.pop("input_blocks.3.1.qkv.weight"), "expected input_blocks that end in attention; found time"),
        (lambda s: s.clear(), "expected input_blocks that end in attention; found nothing"),
        (lambda s: [s.pop(k) for k in list(s) if k.startswith("out.")], "expected 2 sizes in out.2.pos"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, words):
    state = dict(official_encoder(**PLAIN).state_dict())
    change(state)
    with pytest.raises(ValueError, match=words):
        ours(state)


def test_a_unet_is_none():
    with pytest.raises(ValueError, match="No weights of a guided-diffusion classifier"):
        ours(official_adm(num_head_channels=16).state_dict())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"attention": (True,)}, "must be of equal length"),
        ({"resample": "mean"}, "resample 'mean' must be one of block, conv, plain"),
        ({"size": 9}, "size 9 must be a multiple of 2"),
        ({"head_width": 24}, "no whole number of heads of 24"),
        ({"attention": (False, False), "head_width": 24}, "no whole number of heads of 24"),
    ],
)
def test_options_that_make_no_net(options, words):
    own = {"widths": (32, 32), "attention": (True, True), "size": 8, "head_width": 16}
    with pytest.raises(ValueError, match=words):
        AdmEncoder(**own | options)
