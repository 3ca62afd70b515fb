"""Devices and precisions: words to torch's, and the sentence for a word that is none."""

import pytest
import torch

from restorer.device import DTYPES, choose_device, choose_dtype, dtype_name
from restorer.errors import DeviceError, UsageError


@pytest.mark.parametrize("name", ["cpu", "cpu:0"])
def test_the_cpu_is_always_there(name):
    assert choose_device(name).type == "cpu"


def test_auto_takes_a_device_that_is_there():
    assert choose_device(choose_device("auto").type).type in ("cuda", "xpu", "mps", "cpu")


@pytest.mark.parametrize("name", ["cpu:1", "cuda:99", "mps:7", "xpu:64"])
def test_a_device_that_is_not_there_is_named_beside_those_that_are(name):
    with pytest.raises(DeviceError, match=f"Device '{name}' is not on this machine, which has: .*cpu"):
        choose_device(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cud", "did you mean 'cuda'"),
        ("CPU ", "Unknown device 'CPU '"),
        ("cuda:x", "did you mean 'cuda"),
        ("cuda:-1", "did you mean 'cuda"),
        ("cpu:", "did you mean 'cpu'"),
        ("", "known: auto"),
    ],
)
def test_a_word_that_is_no_device_is_named_with_the_nearest(name, words):
    with pytest.raises(UsageError, match=words):
        choose_device(name)


@pytest.mark.parametrize(("name", "dtype"), DTYPES.items())
def test_every_precision_has_one_name(name, dtype):
    assert choose_dtype(name, torch.device("cpu")) is dtype
    assert dtype_name(dtype) == name


@pytest.mark.parametrize("has", ["_is_amx_tile_supported", "_is_avx512_bf16_supported", None])
def test_auto_is_half_precision_only_where_that_is_fast(monkeypatch, has):
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda found=name == has: found)
    assert choose_dtype("auto", torch.device("cpu")) is (torch.bfloat16 if has else torch.float32)
    assert choose_dtype("auto", torch.device("mps")) is torch.float32


def test_an_unknown_precision_is_named_with_the_nearest():
    with pytest.raises(UsageError, match="Unknown dtype 'fp23'; did you mean 'fp32'"):
        choose_dtype("fp23", torch.device("cpu"))
