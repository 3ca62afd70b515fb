"""Convolutions of 3 x 3 with fewer products: what they are, to rounding, and where they are taken."""

import platform

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from restorer.device import few_products_pay
from restorer.load import answering
from restorer.nets import NETS, winograd
from restorer.nets.enlarge import Enlarge
from restorer.nets.winograd import Winograd

CPU = torch.device("cpu")


def layer(width_in, width_out, **words):
    torch.manual_seed(0)
    return nn.Conv2d(width_in, width_out, 3, padding=1, **words)


@pytest.mark.parametrize(("height", "width"), [(32, 16), (29, 31), (4, 125), (61, 14), (33, 32)])
@pytest.mark.parametrize("bias", [True, False])
def test_it_is_the_convolution(height, width, bias):
    conv = layer(3, 5, bias=bias).double()
    x = torch.randn(2, 3, height, width).double()
    made = Winograd(conv)(x)
    assert made.shape == (2, 5, height, width)
    assert torch.allclose(made, conv(x), atol=1e-12)


def test_a_kernel_that_moves_by_a_pixel_moves_by_a_pixel():
    conv = layer(1, 1, bias=False).double()
    conv.weight.data = F.one_hot(torch.tensor(5), 9).double().view(1, 1, 3, 3)
    x = torch.randn(1, 1, 32, 32).double()
    assert torch.allclose(Winograd(conv)(x), F.pad(x[..., 1:], (0, 1)), atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 36 * 5 * 4 * 8 * 2, 36 * 50 * 4 * 8, 36 * 50 * 4 * 8 * 2])
def test_large_pictures_and_many_are_taken_in_parts(monkeypatch, chunk):
    conv, x = layer(3, 4).double(), torch.randn(3, 3, 38, 17).double()
    monkeypatch.setattr(winograd, "CHUNK", chunk)
    assert torch.allclose(Winograd(conv)(x), conv(x), atol=1e-12)


def test_of_few_tiles_the_convolution_is_taken_itself():
    conv = layer(128, 128)
    few, enough = torch.randn(1, 128, 28, 36), torch.randn(2, 128, 16, 32)
    assert torch.equal(Winograd(conv)(few), conv(few))
    assert not torch.equal(Winograd(conv)(enough), conv(enough))


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 4e-6), (torch.bfloat16, 3e-2)])
def test_rounding_is_that_of_the_precision(dtype, most):
    conv, x = layer(256, 256), torch.randn(1, 256, 32, 32)
    conv.weight.data = torch.randn(256, 256, 3, 3) / 48
    exact = conv.double()(x.double())
    off = Winograd(conv.to(dtype))(x.to(dtype)).double() - exact
    assert off.square().mean().sqrt() < most * exact.square().mean().sqrt()


def test_gradients_pass():
    conv, x = layer(2, 3).double(), torch.randn(2, 2, 33, 16).double().requires_grad_()
    Winograd(conv)(x).square().sum().backward()
    own, x.grad = x.grad, None
    conv(x).square().sum().backward()
    assert torch.allclose(own, x.grad, atol=1e-10)


def test_wide_plain_convolutions_alone_are_taken_so():
    others = [
        layer(127, 128),
        layer(128, 127),
        layer(128, 128, stride=2),
        layer(128, 128, groups=2),
        layer(128, 128, dilation=2),
        layer(128, 128, padding_mode="reflect"),
        nn.Conv2d(128, 128, 3),
        nn.Conv2d(128, 128, 1),
        nn.Conv2d(128, 128, (3, 1), padding=(1, 0)),
        Enlarge(128, 128),
    ]
    net = nn.Sequential(layer(128, 128), *others, nn.Sequential(layer(130, 128)))
    assert winograd.winograd(net) is net
    taken = [name for name, module in net.named_modules() if isinstance(module, Winograd)]
    assert taken == ["0", "11.0"]


def test_weights_take_no_more_than_so_much(monkeypatch):
    net = nn.Sequential(layer(256, 256), layer(128, 128), layer(128, 256))
    monkeypatch.setattr(winograd, "MOST", 36 * 4 * (128 * 128 + 128 * 256))
    winograd.winograd(net)
    assert [isinstance(module, Winograd) for module in net] == [False, True, True]


def test_a_whole_net_answers_the_same():
    torch.manual_seed(0)
    net = NETS["ddpm_unet"](widths=(64, 128), attention=(False, True))
    x, t = torch.randn(1, 3, 64, 64), torch.tensor([500.0])
    names = list(net.state_dict())
    with torch.no_grad():
        wanted = net(x, t)
        made = answering(net, CPU, torch.float32)(x, t)
    assert torch.allclose(made, wanted, atol=2e-5)
    assert list(net.state_dict()) == names
    if few_products_pay(CPU, torch.float32):
        assert any(isinstance(module, Winograd) for module in net.modules())


def test_it_pays_where_products_take_the_time(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert few_products_pay(CPU, torch.float32) and few_products_pay(CPU, torch.bfloat16)
    assert not few_products_pay(CPU, torch.float16) and not few_products_pay(torch.device("cuda"), torch.float32)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert few_products_pay(CPU, torch.float32) and not few_products_pay(CPU, torch.bfloat16)
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    assert not few_products_pay(CPU, torch.float32)
