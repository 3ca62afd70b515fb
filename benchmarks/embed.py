"""Give a model's folder what `restorer models verify` needs: a test picture, its score, checksums; and one to show.

    python benchmarks/embed.py models/rddm-derain-tiny PHOTOGRAPH --top 60 --left 90 --damage rain=0.5
    python benchmarks/embed.py models/ddpm-natural-tiny PHOTOGRAPH --operator sr:4

Writes test/clean.png and test/damaged.png, 128 x 128 pixels of the photograph; the expectation of the set "test" in
config.json, measured now; before_after.jpg: damaged, restored, clean; and SHA256SUMS. To be run whenever a file of the
folder has changed; without PHOTOGRAPH the test pictures stay as they are. The weights of a DDPM net go into unet/ under
the names that diffusers has for them, so that its pipelines load the folder too. Where the card inside a
model.safetensors would make another picture than config.json, it is renewed; the tensors stay.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from restorer import Restorer
from restorer.convert import diffusers
from restorer.degrade import degrade
from restorer.entry import Entry, Expect, card, hash_file, read_entry
from restorer.hub.layout import INDEX, SCHEDULER, UNET, WEIGHTS
from restorer.images import read
from restorer.images.atomic import write_bytes
from restorer.load import CARD, card_inside
from restorer.nets.ddpm_unet import rename_back
from restorer.sums import SUMS, sums_text
from restorer.train.checkpoint import save_model
from restorer.verify import TEST, measure, picture, restored

SIDE, STEPS = 128, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("photograph", type=Path, nargs="?")
    parser.add_argument("--top", type=int, default=0)
    parser.add_argument("--left", type=int, default=0)
    parser.add_argument("--damage", help="KIND=STRENGTH of restorer degrade.")
    parser.add_argument("--operator", help="sr:4, for a prior.")
    options = parser.parse_args()
    folder = options.folder
    if read_entry(folder / CARD).net["arch"] == "ddpm_unet":
        _for_diffusers(folder)
    entry = read_entry(folder / CARD)
    if options.photograph:
        _pictures(folder / TEST, options)
    restorer = Restorer.from_pretrained(str(folder), device="cpu", dtype="fp32")
    told = Expect(TEST, "psnr", 0.0, STEPS if options.operator else entry.sample.steps, 0, options.operator)
    told = next((one for one in entry.expect if one.set == TEST), told)
    score = round(measure(restorer, folder, told), 3)
    if _as_run(card_inside(restorer.found.weights)) != _as_run(entry) and restorer.found.weights.parent == folder:
        kept = replace(entry, expect=tuple(one for one in entry.expect if one.set != TEST))
        entry = save_model(folder, kept, restorer.denoiser.net, getattr(torch, entry.weights.dtype))
    data = card(entry)
    others = [one for one in data["expect"] if one["set"] != TEST]
    own = {key: getattr(told, key) for key in ("set", "metric", "steps", "seed", "operator")} | {"value": score}
    data["expect"] = [*others, {key: value for key, value in own.items() if value is not None}]
    write_bytes(folder / CARD, f"{json.dumps(data, indent=2)}\n".encode())
    _shown(folder, restored(restorer, folder, told))
    write_bytes(folder / SUMS, sums_text(folder).encode())
    print(f"{folder}: {score} dB")


def _as_run(entry: Entry) -> Entry:
    """The card without what makes no other picture: scores, and the file's own sha256."""
    serves = entry.serves and tuple(replace(duty, expect=()) for duty in entry.serves)
    return replace(entry, weights=None, expect=(), serves=serves)


def _for_diffusers(folder: Path) -> None:
    """Move model.safetensors to unet/, under diffusers' names, beside the files that a pipeline wants."""
    ours, entry = folder / "model.safetensors", read_entry(folder / CARD)
    if not ours.exists():
        return
    card_text = json.dumps(card(replace(entry, weights=None)))
    state = {key: value.contiguous() for key, value in rename_back(load_file(ours)).items()}
    with TemporaryDirectory() as passing:
        diffusers.write(Path(passing), entry, Restorer.from_pretrained(str(folder), device="cpu").denoiser.net)
        for part, name in ((UNET, "config.json"), ("scheduler", SCHEDULER), ("", INDEX)):
            (folder / part).mkdir(exist_ok=True)
            write_bytes(folder / part / name, (Path(passing) / name).read_bytes())
    weights = f"{UNET}/{WEIGHTS[0]}"
    write_bytes(folder / weights, save(state, {"format": "pt", CARD: card_text}))
    told = {"file": weights, "sha256": hash_file(folder / weights), "bytes": (folder / weights).stat().st_size}
    data = card(entry)
    data["weights"] |= told
    write_bytes(folder / CARD, f"{json.dumps(data, indent=2)}\n".encode())
    ours.unlink()


def _pictures(folder: Path, options: argparse.Namespace) -> None:
    whole = read(options.photograph).pixels
    clean = whole[..., options.top : options.top + SIDE, options.left : options.left + SIDE]
    if options.operator:
        factor = int(options.operator.removeprefix("sr:"))
        damaged = avg_pool2d(clean, factor)
    else:
        kind, _, strength = options.damage.partition("=")
        damaged = degrade(clean, kind, strength=float(strength), rng=torch.Generator().manual_seed(0))
    folder.mkdir(exist_ok=True)
    _image(clean).save(folder / "clean.png", optimize=True)
    _image(damaged).save(folder / "damaged.png", optimize=True)


def _shown(folder: Path, result: Tensor) -> None:
    damaged, clean = picture(folder, "damaged"), picture(folder, "clean")
    row = torch.cat([interpolate(damaged, clean.shape[-2:]), result, clean], dim=-1)
    _image(interpolate(row, scale_factor=2)).save(folder / "before_after.jpg", quality=88)


def _image(pixels: Tensor) -> Image.Image:
    array = pixels[0].clamp(0, 1).permute(1, 2, 0).mul(255).round().byte().numpy()
    return Image.fromarray(array)


if __name__ == "__main__":
    main()
