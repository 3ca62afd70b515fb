"""guided-diffusion's U-Net written again, part by part as its checkpoints name them, to compare ours with."""

import math

import torch
from torch import nn


class Res(nn.Module):
    def __init__(self, before, after, told, scale_shift, size=1.0):
        super().__init__()
        self.size, self.scale_shift = size, scale_shift
        self.in_layers = nn.Sequential(nn.GroupNorm(32, before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(told, after * (1 + scale_shift)))
        convolution = nn.Conv2d(after, after, 3, padding=1)
        self.out_layers = nn.Sequential(nn.GroupNorm(32, after), nn.SiLU(), nn.Dropout(0.1), convolution)
        if before != after:
            self.skip_connection = nn.Conv2d(before, after, 1)

    def forward(self, x, emb):
        norm, activation, convolution = self.in_layers
        h = convolution(resized(activation(norm(x)), self.size))
        x = resized(x, self.size)
        said = self.emb_layers(emb).unsqueeze(-1).unsqueeze(-1)
        if self.scale_shift:
            half = said.shape[1] // 2
            h = self.out_layers[0](h) * (said[:, :half] + 1) + said[:, half:]
            h = self.out_layers[3](h * h.sigmoid())
        else:
            h = self.out_layers(h + said)
        return h + (self.skip_connection(x) if "skip_connection" in self._modules else x)


class Attention(nn.Module):
    """One head after the other, with matrices written out."""

    def __init__(self, width, heads, new_order):
        super().__init__()
        self.heads, self.new_order = heads, new_order
        self.norm = nn.GroupNorm(32, width)
        self.qkv, self.proj_out = nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, width, 1)

    def forward(self, x, emb):
        flat = x.reshape(*x.shape[:2], -1)
        rows = self.qkv(self.norm(flat))
        each = x.shape[1] // self.heads
        outs = []
        for head in range(self.heads):
            if self.new_order:
                q, k, v = (rows[:, i * x.shape[1] + head * each :][:, :each] for i in range(3))
            else:
                q, k, v = (rows[:, (3 * head + i) * each :][:, :each] for i in range(3))
            share = torch.einsum("ncp,ncq->npq", q * each**-0.25, k * each**-0.25).softmax(dim=-1)
            outs.append(torch.einsum("npq,ncq->ncp", share, v))
        return x + self.proj_out(torch.cat(outs, dim=1)).reshape(x.shape)


class Resample(nn.Module):
    def __init__(self, width, size, learned):
        super().__init__()
        self.size, self.learned = size, learned
        if learned and size < 1:
            self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)
        elif learned:
            self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x, emb):
        if self.learned:
            return self.op(x) if self.size < 1 else self.conv(resized(x, 2.0))
        return resized(x, self.size)


class Sequence(nn.Sequential):
    def forward(self, x, emb):
        for part in self:
            x = part(x) if isinstance(part, nn.Conv2d) else part(x, emb)
        return x


def resized(x, size):
    if size == 1:
        return x
    if size > 1:
        return x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    return (x[:, :, ::2, ::2] + x[:, :, 1::2, ::2] + x[:, :, ::2, 1::2] + x[:, :, 1::2, 1::2]) / 4


class OfficialAdm(nn.Module):
    """The options are guided-diffusion's own; ``attention_resolutions`` are divisors of the picture's side."""

    def __init__(
        self,
        *,
        model_channels=32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(2,),
        num_heads=1,
        num_head_channels=-1,
        out_channels=6,
        num_classes=None,
        use_scale_shift_norm=True,
        resblock_updown=True,
        conv_resample=True,
        use_new_attention_order=False,
    ):
        super().__init__()
        told = 4 * model_channels
        self.model_channels = model_channels
        self.time_embed = nn.Sequential(nn.Linear(model_channels, told), nn.SiLU(), nn.Linear(told, told))
        if num_classes is not None:
            self.label_emb = nn.Embedding(num_classes, told)

        def res(before, after, size=1.0):
            return Res(before, after, told, use_scale_shift_norm, size)

        def attention(width):
            heads = num_heads if num_head_channels == -1 else width // num_head_channels
            return Attention(width, heads, use_new_attention_order)

        def resample(width, size):
            return res(width, width, size) if resblock_updown else Resample(width, size, conv_resample)

        first = width = int(channel_mult[0] * model_channels)
        self.input_blocks = nn.ModuleList([Sequence(nn.Conv2d(3, first, 3, padding=1))])
        widths = [width]
        for level, multiplier in enumerate(channel_mult):
            for _ in range(num_res_blocks):
                parts = [res(width, width := int(multiplier * model_channels))]
                parts += [attention(width)] if 2**level in attention_resolutions else []
                self.input_blocks.append(Sequence(*parts))
                widths.append(width)
            if level < len(channel_mult) - 1:
                self.input_blocks.append(Sequence(resample(width, 0.5)))
                widths.append(width)
        self.middle_block = Sequence(res(width, width), attention(width), res(width, width))
        self.output_blocks = nn.ModuleList()
        for level in reversed(range(len(channel_mult))):
            for block in range(num_res_blocks + 1):
                parts = [res(width + widths.pop(), width := int(channel_mult[level] * model_channels))]
                parts += [attention(width)] if 2**level in attention_resolutions else []
                parts += [resample(width, 2.0)] if level and block == num_res_blocks else []
                self.output_blocks.append(Sequence(*parts))
        self.out = nn.Sequential(nn.GroupNorm(32, first), nn.SiLU(), nn.Conv2d(first, out_channels, 3, padding=1))

    def forward(self, x, t, y=None):
        half = self.model_channels // 2
        waves = [t[:, None] * math.exp(-math.log(10000) * k / half) for k in range(half)]
        angles = torch.cat(waves, dim=1)
        emb = self.time_embed(torch.cat([angles.cos(), angles.sin()], dim=1))
        if y is not None:
            emb = emb + self.label_emb(y)
        aside = []
        for block in self.input_blocks:
            x = block(x, emb)
            aside.append(x)
        x = self.middle_block(x, emb)
        for block in self.output_blocks:
            x = block(torch.cat([x, aside.pop()], dim=1), emb)
        return self.out(x)


def official_adm(seed=0, scale=0.05, **options):
    """With random weights, norms and biases too, so that nothing is hidden behind a zero or a one."""
    torch.manual_seed(seed)
    net = OfficialAdm(**options).eval()
    with torch.no_grad():
        for weight in net.parameters():
            weight.add_(scale * torch.randn(weight.shape))
    return net
