"""Official IR-SDE and Refusion weights without the official code: key names, shapes, and values anyone can compute.

The golden values of the tests are what the official classes answer with these weights to these pictures.
"""

from __future__ import annotations

import math

import numpy as np
import torch

# ------------------------------------------------------------------------------------------------ keys and shapes


def conv(p, o, i, side, bias=True):
    return {f"{p}.weight": (o, i, side, side)} | ({f"{p}.bias": (o,)} if bias else {})


def linear(p, o, i):
    return {f"{p}.weight": (o, i), f"{p}.bias": (o,)}


def block(p, i, o, t=0):
    shapes = linear(f"{p}.mlp.1", 2 * o, t) if t else {}
    shapes |= conv(f"{p}.block1.proj", o, i, 3, False) | conv(f"{p}.block2.proj", o, o, 3, False)
    return shapes | (conv(f"{p}.res_conv", o, i, 1, False) if i != o else {})


def attention(p, c, full=False):
    shapes = {f"{p}.fn.norm.g": (1, c, 1, 1)} | conv(f"{p}.fn.fn.to_qkv", 384, c, 1, False)
    if full:
        return shapes | conv(f"{p}.fn.fn.to_out", c, 128, 1)
    return shapes | conv(f"{p}.fn.fn.to_out.0", c, 128, 1) | {f"{p}.fn.fn.to_out.1.g": (1, c, 1, 1)}


def unet(nf=64, depth=4, channels=6, out=3, full=False):
    """Conditional with 6 channels; denoising with 3 and ``full`` attention in the middle."""
    t, widths = 4 * nf, [nf * 2**i for i in range(depth + 1)]
    shapes = conv("init_conv", nf, channels, 7, False) | linear("time_mlp.1", t, nf) | linear("time_mlp.3", t, t)
    for i in range(depth):
        a, b, j = widths[i], widths[i + 1], depth - 1 - i
        shapes |= block(f"downs.{i}.0", a, a, t) | block(f"downs.{i}.1", a, a, t) | attention(f"downs.{i}.2", a)
        shapes |= conv(f"downs.{i}.3", b, a, 4) if j else conv(f"downs.{i}.3", b, a, 3, False)
        shapes |= block(f"ups.{j}.0", a + b, b, t) | block(f"ups.{j}.1", a + b, b, t) | attention(f"ups.{j}.2", b)
        shapes |= conv(f"ups.{j}.3.1", a, b, 3) if i else conv(f"ups.{j}.3", a, b, 3, False)
    c = widths[-1]
    shapes |= block("mid_block1", c, c, t) | attention("mid_attn", c, full) | block("mid_block2", c, c, t)
    return shapes | block("final_res_block", 2 * nf, nf, t) | conv("final_conv", out, nf, 3)


def naf_block(p, c, t):
    shapes = {f"{p}.{name}": (1, c, 1, 1) for name in ("beta", "gamma", "norm1.g", "norm2.g")}
    shapes |= linear(f"{p}.mlp.1", 4 * c, t // 2) | conv(f"{p}.conv1", 2 * c, c, 1) | conv(f"{p}.conv2", 2 * c, 1, 3)
    shapes |= conv(f"{p}.sca.1", c, c, 1) | conv(f"{p}.conv3", c, c, 1)
    return shapes | conv(f"{p}.conv4", 2 * c, c, 1) | conv(f"{p}.conv5", c, c, 1)


def nafnet(width=64, encoder=(1, 1, 1, 28), middle=1, decoder=(1, 1, 1, 1), channels=6, out=3):
    """Conditional with twice as many ``channels`` as ``out``; the one for latents has the same keys."""
    t, deepest = 4 * width, len(encoder)
    shapes = linear("time_mlp.1", 2 * t, width) | linear("time_mlp.3", t, t)
    shapes |= conv("intro", width, channels, 3) | conv("ending", out, width, 3)
    for level, blocks in enumerate(encoder):
        c = width * 2**level
        for k in range(blocks):
            shapes |= naf_block(f"encoders.{level}.{k}", c, t)
        shapes |= conv(f"downs.{level}", 2 * c, c, 2)
    for k in range(middle):
        shapes |= naf_block(f"middle_blks.{k}", width * 2**deepest, t)
    for level, blocks in enumerate(decoder):
        c = width * 2 ** (deepest - level)
        shapes |= conv(f"ups.{level}.0", 2 * c, c, 1, False)
        for k in range(blocks):
            shapes |= naf_block(f"decoders.{level}.{k}", c // 2, t)
    return shapes


def compression(width=8, mults=(4, 8, 8, 16), latent=8, channels=3):
    widths, last = [width, *(width * mult for mult in mults)], len(mults) - 1
    shapes = conv("init_conv", width, channels, 3, False) | conv("final_conv", channels, width, 3)
    shapes |= conv("latent_conv", latent, widths[-1], 1, False)
    shapes |= conv("post_latent_conv", widths[-1], latent, 1, False)
    for i in range(last + 1):
        a, b, j = widths[i], widths[i + 1], last - i
        shapes |= block(f"encoder.{i}.0", a, a) | block(f"encoder.{i}.1", a, a)
        shapes |= block(f"decoder.{j}.0", a + b, b) | block(f"decoder.{j}.1", a + b, b)
        shapes |= conv(f"encoder.{i}.3", b, a, 4) if j else conv(f"encoder.{i}.3", b, a, 3, False)
        shapes |= conv(f"decoder.{j}.3.1", a, b, 3) if i else conv(f"decoder.{j}.3", a, b, 3, False)
    return shapes | attention(f"encoder.{last}.2", widths[-2]) | attention("decoder.0.2", widths[-1])


# ------------------------------------------------------------------------------------------------ values


def golden_state(shapes):
    """The k-th key in alphabetical order is a wave of phase 0.7 k; what only scales is about 1."""
    return {
        key: torch.from_numpy(
            (0.1 * np.sin(0.7 * k + 0.13 * np.arange(math.prod(shapes[key])))).astype(np.float32)
        ).reshape(shapes[key])
        + key.endswith(".g")
        for k, key in enumerate(sorted(shapes))
    }


def random_state(shapes, seed=0):
    """Random weights, small enough for nets without norms; what only scales is near 1."""
    rng, state = torch.Generator().manual_seed(seed), {}
    for key, shape in shapes.items():
        values = torch.randn(shape, generator=rng)
        state[key] = 1 + 0.1 * values if key.endswith(".g") else 0.7 * values / max(1, values[0].numel()) ** 0.5
        if key.endswith("bias"):
            state[key] = 0.1 * values
    return state


def golden_pictures(channels=3, height=13, width=18):
    """The golden x and mu, (1, channels, height, width)."""
    c, i, j = np.meshgrid(np.arange(channels), np.arange(height), np.arange(width), indexing="ij")
    x = 0.5 + 0.4 * np.sin(0.3 * c + 0.11 * i + 0.07 * j)
    mu = 0.5 + 0.4 * np.cos(0.2 * c + 0.05 * i + 0.09 * j)
    return tuple(torch.from_numpy(v.astype(np.float32))[None] for v in (x, mu))
