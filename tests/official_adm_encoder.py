"""guided-diffusion's noisy classifier written again, part by part as its checkpoints name them."""

import math

import torch
from official_adm import Attention, Res, Resample, Sequence
from torch import nn


class AttentionPool(nn.Module):
    """Every token asks every token, one head after the other; the first one's answer counts."""

    def __init__(self, side, width, head_width, classes):
        super().__init__()
        self.heads = width // head_width
        self.positional_embedding = nn.Parameter(torch.randn(width, side * side + 1) / width**0.5)
        self.qkv_proj, self.c_proj = nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, classes, 1)

    def forward(self, x):
        flat = x.reshape(*x.shape[:2], -1)
        tokens = torch.cat([flat.sum(dim=-1, keepdim=True) / flat.shape[-1], flat], dim=-1)
        tokens = tokens + self.positional_embedding.unsqueeze(0)
        thirds = self.qkv_proj(tokens).split(x.shape[1], dim=1)
        each = x.shape[1] // self.heads
        outs = []
        for head in range(self.heads):
            q, k, v = (third[:, head * each : (head + 1) * each] for third in thirds)
            share = torch.einsum("ncp,ncq->npq", q * each**-0.25, k * each**-0.25).softmax(dim=-1)
            outs.append(torch.einsum("npq,ncq->ncp", share, v))
        return self.c_proj(torch.cat(outs, dim=1))[:, :, 0]


class OfficialEncoder(nn.Module):
    """The options are guided-diffusion's own; ``attention_resolutions`` are divisors of the picture's side."""

    def __init__(
        self,
        *,
        image_size=8,
        model_channels=32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(2,),
        num_head_channels=16,
        out_channels=5,
        use_scale_shift_norm=True,
        resblock_updown=True,
        conv_resample=True,
    ):
        super().__init__()
        told = 4 * model_channels
        self.model_channels = model_channels
        self.time_embed = nn.Sequential(nn.Linear(model_channels, told), nn.SiLU(), nn.Linear(told, told))

        def res(before, after, size=1.0):
            return Res(before, after, told, use_scale_shift_norm, size)

        def attention(width):
            return Attention(width, width // num_head_channels, False)

        width = int(channel_mult[0] * model_channels)
        self.input_blocks = nn.ModuleList([Sequence(nn.Conv2d(3, width, 3, padding=1))])
        for level, multiplier in enumerate(channel_mult):
            for _ in range(num_res_blocks):
                parts = [res(width, width := int(multiplier * model_channels))]
                parts += [attention(width)] if 2**level in attention_resolutions else []
                self.input_blocks.append(Sequence(*parts))
            if level < len(channel_mult) - 1:
                halved = res(width, width, 0.5) if resblock_updown else Resample(width, 0.5, conv_resample)
                self.input_blocks.append(Sequence(halved))
        self.middle_block = Sequence(res(width, width), attention(width), res(width, width))
        side = image_size // 2 ** (len(channel_mult) - 1)
        pool = AttentionPool(side, width, num_head_channels, out_channels)
        self.out = nn.Sequential(nn.GroupNorm(32, width), nn.SiLU(), pool)

    def forward(self, x, t):
        half = self.model_channels // 2
        waves = [t[:, None] * math.exp(-math.log(10000) * k / half) for k in range(half)]
        angles = torch.cat(waves, dim=1)
        emb = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=1))
        for block in self.input_blocks:
            x = block(x, emb)
        return self.out(self.middle_block(x, emb))


def official_encoder(seed=0, scale=0.05, **options):
    """With random weights, norms and biases too, so that nothing is hidden behind a zero or a one."""
    torch.manual_seed(seed)
    net = OfficialEncoder(**options).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(scale * torch.randn(weight.shape))
    return net
