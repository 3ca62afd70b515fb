"""Our DDPM U-Net is diffusers' ``UNet2DModel``: same weights in, same pictures out."""

import pytest
import torch
from diffusers import UNet2DModel

from restorer.nets.ddpm_unet import DdpmUNet, config_of, options_of, rename, rename_back

CIFAR = {
    "block_out_channels": (8, 16, 16, 16),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    **{"attention_head_dim": None, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1},
    **{"norm_eps": 1e-6, "norm_num_groups": 8, "sample_size": 32},
}
"""google/ddpm-cifar10-32, but narrow."""
CELEBA = CIFAR | {
    "block_out_channels": (8, 8, 16, 16, 24, 24),
    "down_block_types": ("DownBlock2D",) * 4 + ("AttnDownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "AttnUpBlock2D") + ("UpBlock2D",) * 4,
    "sample_size": 256,
}
"""google/ddpm-celebahq-256, but narrow."""
PLAIN = {
    **{"block_out_channels": (16, 32), "norm_num_groups": 4},
    **{"down_block_types": ("DownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "UpBlock2D")},
}
DEFAULTS = {
    **{"block_out_channels": (32, 32, 64), "attention_head_dim": 8},
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "AttnDownBlock2D"),
    "up_block_types": ("AttnUpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
}
CONFIGS = {
    "cifar": CIFAR,
    "celeba": CELEBA,
    "defaults": DEFAULTS,
    "no attention": PLAIN | {"add_attention": False, "layers_per_block": 1},
    "attention in the middle": PLAIN | {"layers_per_block": 3, "act_fn": "swish"},
    "attention down only": PLAIN | {"down_block_types": ("AttnDownBlock2D", "DownBlock2D"), "dropout": 0.1},
    "one level": PLAIN
    | {"block_out_channels": (16,)}
    | {"down_block_types": ("AttnDownBlock2D",), "up_block_types": ("AttnUpBlock2D",)},
}
OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def theirs(config, seed=0):
    """A ``UNet2DModel`` of random weights, norms and biases too."""
    net = UNet2DModel(**config).eval()
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.05 * torch.randn(weight.shape, generator=rng))
    return net


def ours(config):
    options = options_of(config)
    assert options.pop("arch") == "ddpm_unet"
    return DdpmUNet(**options).eval()


def loaded(net):
    made = ours(dict(net.config))
    made.load_state_dict(rename(net.state_dict(), made))
    return made


def old_names(state):
    def old(key):
        for new, name in OLD.items():
            key = key.replace(f".{new}.", f".{name}.")
        return key

    return {old(key): value for key, value in state.items()}


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_it_says_what_diffusers_says(name):
    net = theirs(CONFIGS[name])
    made = loaded(net)
    x = torch.randn(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    times = torch.tensor([3.0, 951.0])
    wanted = net(x, times).sample
    assert wanted.std() > 0.05
    assert torch.allclose(made(x, times), wanted, atol=1e-5, rtol=1e-5)


def test_old_names_are_the_same_net():
    net = theirs(CIFAR)
    made = ours(CIFAR)
    state = old_names(net.state_dict())
    assert any("proj_attn" in key for key in state) and not any("to_q" in key for key in state)
    made.load_state_dict(rename(state, made))
    for key, value in loaded(net).state_dict().items():
        assert torch.equal(value, made.state_dict()[key])


@pytest.mark.parametrize("name", CONFIGS)
def test_there_and_back(name):
    net = theirs(CONFIGS[name])
    made = loaded(net)
    back = UNet2DModel.from_config(config_of(options_of(CONFIGS[name]), 32))
    back.load_state_dict(rename_back(made.state_dict()))
    assert options_of(config_of(options_of(CONFIGS[name]))) == options_of(CONFIGS[name])
    for key, value in net.state_dict().items():
        assert torch.equal(value, back.state_dict()[key])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("conv_in.bias"), "Not the 328 tensors of this UNet2DModel: missing: conv_in.bias."),
        (lambda s: s.update(extra=torch.zeros(1)), "not known: extra."),
        (lambda s: s.update({"conv_in.bias": torch.zeros(3)}), r"another shape: conv_in.bias \(3,\) for \(8,\)."),
        (lambda s: s.update(old_names(s)), r"attentions.0.to_q.weight is there under its old name and its new one."),
    ],
)
def test_weights_that_do_not_fit_are_named(change, words):
    state = dict(theirs(CIFAR).state_dict())
    change(state)
    with pytest.raises(ValueError, match=words):
        rename(state, ours(CIFAR))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"class_embed_type": "timestep"}, "class_embed_type is 'timestep'; of UNet2DModel only None can be used."),
        ({"act_fn": "gelu"}, "act_fn is 'gelu'; of UNet2DModel only 'silu' or 'swish' can be used."),
        ({"down_block_types": ["SkipDownBlock2D"]}, "'SkipDownBlock2D'; of UNet2DModel only 'DownBlock2D' or 'AttnDo"),
        ({"cross_attention_dim": 8}, "Unknown key 'cross_attention_dim' for a UNet2DModel."),
    ],
)
def test_another_net_is_named(change, words):
    with pytest.raises(ValueError, match=words):
        options_of(CIFAR | change)


def test_a_config_without_its_sizes_is_no_net():
    with pytest.raises(ValueError, match="up_block_types, block_out_channels missing"):
        options_of({"down_block_types": []})


@pytest.mark.parametrize("options", [{"padding": 2}, {"attention": [True]}, {"head_width": 5}])
def test_options_that_make_no_net(options):
    with pytest.raises(ValueError):
        DdpmUNet(widths=(8, 8), groups=4, **({"attention": (True, True)} | options))
