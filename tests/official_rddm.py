"""Official RDDM weights without the official code: its key names and shapes, and values that anyone can compute.

The golden values of the tests are what the official classes answer with these weights and these draws.
"""

from __future__ import annotations

import math
from zlib import crc32

import numpy as np
import torch

SHAPE = (1, 3, 16, 16)
SHOWN = [0, 1, 384, 767]  # flat positions of the printed elements

# keys and shapes


def block(p, i, o, t):
    shapes = {
        f"{p}.mlp.1.weight": (2 * o, t),
        f"{p}.mlp.1.bias": (2 * o,),
        f"{p}.block1.proj.weight": (o, i, 3, 3),
        f"{p}.block1.proj.bias": (o,),
        f"{p}.block1.norm.weight": (o,),
        f"{p}.block1.norm.bias": (o,),
        f"{p}.block2.proj.weight": (o, o, 3, 3),
        f"{p}.block2.proj.bias": (o,),
        f"{p}.block2.norm.weight": (o,),
        f"{p}.block2.norm.bias": (o,),
    }
    if i != o:
        shapes |= {f"{p}.res_conv.weight": (o, i, 1, 1), f"{p}.res_conv.bias": (o,)}
    return shapes


def linear_attention(p, c):
    return {
        f"{p}.fn.fn.to_qkv.weight": (384, c, 1, 1),
        f"{p}.fn.fn.to_out.0.weight": (c, 128, 1, 1),
        f"{p}.fn.fn.to_out.0.bias": (c,),
        f"{p}.fn.fn.to_out.1.g": (1, c, 1, 1),
        f"{p}.fn.norm.g": (1, c, 1, 1),
    }


def conv(p, o, i, side):
    return {f"{p}.weight": (o, i, side, side), f"{p}.bias": (o,)}


def way_down(channels, dim, mults):
    t, widths = 4 * dim, [dim, *(dim * m for m in mults)]
    shapes = conv("init_conv", dim, channels, 7)
    shapes |= {"time_mlp.1.weight": (t, dim), "time_mlp.1.bias": (t,)}
    shapes |= {"time_mlp.3.weight": (t, t), "time_mlp.3.bias": (t,)}
    for k in range(len(mults)):
        i, o = widths[k], widths[k + 1]
        shapes |= block(f"downs.{k}.0", i, i, t) | block(f"downs.{k}.1", i, i, t)
        shapes |= linear_attention(f"downs.{k}.2", i)
        shapes |= conv(f"downs.{k}.3", o, i, 4 if k < len(mults) - 1 else 3)
    c = widths[-1]
    shapes |= block("mid_block1", c, c, t) | block("mid_block2", c, c, t) | conv("mid_attn.fn.fn.to_out", c, 128, 1)
    return shapes | {"mid_attn.fn.fn.to_qkv.weight": (384, c, 1, 1), "mid_attn.fn.norm.g": (1, c, 1, 1)}


def way_up(dim, mults, *, name="ups", number="", skips=True):
    t, widths = 4 * dim, [dim, *(dim * m for m in mults)]
    shapes = {}
    for k in range(len(mults)):
        i, o = widths[-2 - k], widths[-1 - k]
        wide = o + i if skips else o
        shapes |= block(f"{name}.{k}.0", wide, o, t) | block(f"{name}.{k}.1", wide, o, t)
        shapes |= linear_attention(f"{name}.{k}.2", o)
        shapes |= conv(f"{name}.{k}.3.1" if k < len(mults) - 1 else f"{name}.{k}.3", i, o, 3)
    shapes |= block(f"final_res_block{number}", 2 * dim if skips else dim, dim, t)
    return shapes | conv(f"final_conv{number}", 3, dim, 1)


def official_shapes(form, channels=6, dim=64, mults=(1, 2, 4, 8)):
    """Key -> shape of an official net: "bare" U-Net, "one" or "two" of them in the wrapper, or "shared" encoder."""
    bare = way_down(channels, dim, mults) | way_up(dim, mults)
    match form:
        case "bare":
            return bare
        case "one":
            return {f"unet0.{key}": shape for key, shape in bare.items()}
        case "two":
            return {f"unet{n}.{key}": shape for n in (0, 1) for key, shape in bare.items()}
        case "shared":
            res = way_up(dim, mults, name="ups_no_skip", number="_1", skips=False)
            return way_down(channels, dim, mults) | res | way_up(dim, mults, number="_2")


# values


def wave(shape, f, p):
    j = np.arange(math.prod(shape), dtype=np.float64)
    return torch.from_numpy(np.sin(f * j + p).astype(np.float32)).reshape(shape)


def draw(shape, c):
    """What the c-th call of a random generator gives, counted from 1."""
    return (1.2 * wave(shape, 2.399963, 0.5 * c).double()).float()


class Draws:
    """A ``randn_like`` that gives the golden draws in their order."""

    def __init__(self):
        self.count = 0

    def __call__(self, x):
        self.count += 1
        return draw(x.shape, self.count)


def weight(key, shape):
    s = np.sin(0.7 * np.arange(math.prod(shape), dtype=np.float64) + crc32(key.encode()) % 1000 / 100)
    last = key.rpartition(".")[2]
    if last == "g" or (".norm." in key and last == "weight"):
        s = 1 + 0.1 * s
    elif last == "bias":
        s = 0.1 * s
    else:
        s = s / math.prod(shape[1:]) ** 0.5
    return torch.from_numpy(s.astype(np.float32)).reshape(shape)


def official_state(form, channels=6, dim=16, mults=(1, 2, 4, 8)):
    """Weights by the golden rule, under the official names."""
    return {key: weight(key, shape) for key, shape in official_shapes(form, channels, dim, mults).items()}
