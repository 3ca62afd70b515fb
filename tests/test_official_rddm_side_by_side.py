"""The official class and ours, side by side: for those who have a clone of nachifur/RDDM, which is not in this suite.

    RESTORER_RDDM_REPO=/path/to/clone python -m pytest tests/test_official_rddm_side_by_side.py -s

Without that variable nothing is listed here. RESTORER_RDDM_DIM (16; official 64) is the width of the nets.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from conftest import ROOT
from official_rddm import official_shapes
from official_repository import official_module

from restorer import Restorer
from restorer.convert.official import Wishes, convert

REPO = os.environ.get("RESTORER_RDDM_REPO")
DIM = int(os.environ.get("RESTORER_RDDM_DIM", "16"))
SIDE, STEPS, SEED = 256, 5, 7


if REPO:

    def test_five_steps_of_the_official_class_and_of_its_converted_checkpoint(tmp_path, monkeypatch, recwarn):
        official = official_module(Path(REPO), monkeypatch)
        torch.manual_seed(0)
        nets = official.UnetRes(dim=DIM, dim_mults=(1, 2, 4, 8), share_encoder=0, condition=True)
        diffusion = official.ResidualDiffusion(
            nets,
            image_size=SIDE,
            timesteps=1000,
            sampling_timesteps=STEPS,
            objective="pred_res_noise",
            loss_type="l1",
            condition=True,
            sum_scale=1,
        ).eval()
        state = diffusion.state_dict()
        assert {key.removeprefix("model.") for key in state if key.startswith("model.")} == set(official_shapes("two"))
        averages = {f"ema_model.{key}": value for key, value in state.items()}
        torch.save({"step": 1, "model": state, "opt": {}, "ema": averages, "scaler": None}, tmp_path / "model-1.pt")
        convert("rddm", tmp_path / "model-1.pt", tmp_path / "made", Wishes(preset="raindrop"))
        model = Restorer.from_pretrained(str(tmp_path / "made"), device="cpu", dtype="fp32")

        y = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
        noise = torch.randn(y.shape, generator=torch.Generator().manual_seed(SEED))
        got = model(y, seed=SEED)
        monkeypatch.setattr(torch, "randn", lambda *shape, **more: noise)
        with torch.inference_mode():
            wanted = diffusion.sample([y.clone()], batch_size=1)[-1].clamp(0, 1)
        difference = float((got - wanted).abs().max())
        print(f"\ndim {DIM}, {STEPS} steps at {SIDE}x{SIDE}: the largest difference is {difference:.2e}")  # noqa: T201 - asked for
        assert difference < 1e-5 and wanted.std() > 0.05

    def test_both_trainers_say_the_same_loss_and_take_a_step(monkeypatch, recwarn):
        monkeypatch.setattr(sys, "path", [str(ROOT / "benchmarks"), *sys.path])
        from trainer import Official, Ours, losses, pictures

        torch.manual_seed(0)
        official = Official(official_module(Path(REPO), monkeypatch), DIM, torch.device("cpu"))
        ours = Ours(official.net.state_dict(), torch.device("cpu"))
        batch = pictures(1, 64, torch.device("cpu"))
        for theirs, own in losses(official, ours, batch):
            assert abs(own / theirs - 1) < 1e-4
        before = [weight.detach().clone() for weight in (*official.net.parameters(), *ours.net.parameters())]
        official.step(batch), ours.step(batch)
        after = [*official.net.parameters(), *ours.net.parameters()]
        moved = [not torch.equal(was, now) for was, now in zip(before, after, strict=True)]
        assert sum(moved) > 0.9 * len(moved)
