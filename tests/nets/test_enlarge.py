"""Folding an enlargement: the same answers by fewer products."""

import pytest
import torch
import torch.nn.functional as F

from restorer.nets import NETS
from restorer.nets.enlarge import Enlarge, fold


@pytest.mark.parametrize(("width_in", "width", "height", "wide"), [(1, 1, 1, 1), (3, 5, 2, 7), (16, 8, 9, 4)])
def test_folded_it_is_a_convolution_of_repeated_pixels(width_in, width, height, wide):
    torch.manual_seed(0)
    enlarge, x = Enlarge(width_in, width).double(), torch.randn(2, width_in, height, wide).double()
    wanted = F.conv2d(F.interpolate(x, scale_factor=2.0, mode="nearest"), enlarge.weight, enlarge.bias, padding=1)
    assert torch.equal(enlarge(x), wanted)
    fold(enlarge)
    assert torch.allclose(enlarge(x), wanted, atol=1e-12)


def test_a_folded_net_has_the_same_weights_and_answers():
    torch.manual_seed(0)
    small = {"rddm_unet": {"dim": 16}, "irsde_unet": {"width": 8}, "ddpm_unet": {"widths": (32, 32, 32, 32)}}
    for name, options in small.items():
        net = NETS[name](**options)
        x = torch.randn(1, 3 if name == "ddpm_unet" else 6, 32, 32)
        names, wanted = list(net.state_dict()), net(x, torch.tensor([500.0]))
        inside = [module for module in net.modules() if isinstance(module, Enlarge)]
        assert inside
        assert torch.allclose(fold(net)(x, torch.tensor([500.0])), wanted, atol=1e-5)
        assert all(module.folded is not None for module in inside)
        assert list(net.state_dict()) == names
