"""Weights of "simple" DDPM nets are those of diffusers' net under other names, and checked as such."""

import pytest
import torch
from diffusers import UNet2DModel
from official_simple import config, official_simple, simple_names

from restorer.nets.ddpm_simple import options_of, rename
from restorer.nets.ddpm_unet import DdpmUNet


def ours(state, device=None):
    options = options_of(state)
    assert options.pop("arch") == "ddpm_unet"
    with torch.device(device or "cpu"):
        return DdpmUNet(**options).eval()


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 2])
def test_it_says_what_diffusers_says(layers):
    net, state = official_simple(layers=layers)
    made = ours(state)
    made.load_state_dict(rename(state, made))
    x = torch.randn(2, 3, 16, 8, generator=torch.Generator().manual_seed(1))
    time = torch.tensor([3.0, 951.0])
    wanted = net(x, time).sample
    assert wanted.std() > 0.05
    assert torch.allclose(made(x, time), wanted, atol=1e-5, rtol=1e-5)


# Widths of the levels and the level that attends, of the official configurations -> parameters and tensors.
RELEASED = {
    "celeba_hq, lsun": ((128, 128, 256, 256, 512, 512), 4, 113_673_219, 450),
    "celeba": ((128, 256, 256, 256, 512), 2, 78_700_803, 390),
    "cifar10": ((128, 256, 256, 256), 1, 35_746_307, 328),
}


@pytest.mark.parametrize("name", RELEASED)
def test_the_released_keys_and_shapes_are_read(name):
    widths, level, parameters, tensors = RELEASED[name]
    with torch.device("meta"):
        state = simple_names(UNet2DModel(**config(widths, level, 2)).state_dict())
    assert sum(weight.numel() for weight in state.values()) == parameters and len(state) == tensors
    options = options_of(state)
    assert (tuple(options["widths"]), options["layers"], options["attention"].index(True)) == (widths, 2, level)
    assert rename(state, ours(state, "meta")).keys() == ours(state, "meta").state_dict().keys()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("norm_out.bias"), r'Not the 144 tensors of a "simple" DDPM U-Net: missing: norm_out.bias.'),
        (lambda s: s.update(extra=torch.zeros(1)), "not known: extra."),
        (lambda s: s.update({"conv_in.bias": torch.zeros(3)}), r"another shape: conv_in.bias \(3,\) for \(32,\)."),
        (lambda s: s.pop("down.0.downsample.conv.weight"), "missing: down.0.downsample.conv.weight"),
        (lambda s: s.pop("conv_out.weight"), "expected 4 sizes in conv_out.weight; found the keys "),
        (lambda s: s.clear(), "expected 4 sizes in down.0.block.0.conv1.weight; found the keys nothing"),
    ],
)
def test_weights_that_do_not_fit_are_named(change, words):
    _, state = official_simple()
    change(state)
    with pytest.raises(ValueError, match=words):
        rename(state, ours(state))
