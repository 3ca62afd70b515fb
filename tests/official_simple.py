"""A "simple" DDPM net, as ermongroup/ddim saves it: diffusers' net with its tensors under the other names."""

import re

import torch
from diffusers import UNet2DModel

# diffusers' part -> the "simple" one, in order; levels of the way up are counted from the other end.
PARTS = (
    (r"^time_embedding\.linear_(\d)", lambda m: f"temb.dense.{int(m[1]) - 1}"),
    (r"^conv_norm_out", "norm_out"),
    (r"^down_blocks\.(\d+)", r"down.\1"),
    (r"^mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
    (r"^mid_block\.attentions\.0", "mid.attn_1"),
    (r"\.resnets\.", ".block."),
    (r"\.attentions\.", ".attn."),
    (r"\.downsamplers\.0\.", ".downsample."),
    (r"\.upsamplers\.0\.", ".upsample."),
    (r"time_emb_proj", "temb_proj"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"group_norm", "norm"),
    (r"to_([qkv])\.", r"\1."),
    (r"to_out\.0", "proj_out"),
)


def simple_names(state):
    """The state dict of a ``UNet2DModel`` as a "simple" net's."""
    levels = len({key.split(".")[1] for key in state if key.startswith("up_blocks.")})
    named = {}
    for key, value in state.items():
        if re.search(r"\.(to_[qkv]|to_out\.0)\.weight$", key):
            value = value[:, :, None, None]
        for part, simple in (*PARTS, (r"^up_blocks\.(\d+)", lambda m: f"up.{levels - 1 - int(m[1])}")):
            key = re.sub(part, simple, key)
        named[key] = value
    return named


def config(widths, level, layers):
    """``UNet2DModel``'s for a "simple" net whose ``level`` attends."""
    down = ["AttnDownBlock2D" if i == level else "DownBlock2D" for i in range(len(widths))]
    return {
        **{"block_out_channels": widths, "layers_per_block": layers, "down_block_types": down},
        "up_block_types": [kind.replace("Down", "Up") for kind in reversed(down)],
        **{"downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1, "norm_eps": 1e-6},
        "attention_head_dim": None,
    }


def official_simple(widths=(32, 64), level=1, layers=1, seed=0):
    """A narrow net of random weights, norms and biases too, and its state dict under "simple" names."""
    torch.manual_seed(seed)
    net = UNet2DModel(**config(widths, level, layers)).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(0.05 * torch.randn(weight.shape))
    return net, simple_names(net.state_dict())
