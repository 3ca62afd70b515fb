"""Models that know classes: which one is drawn, by whom it is guided, and what is refused."""

import json

import pytest
import torch
from test_generate import PRIOR
from toy import card_data, toy_model, toy_net

from restorer.diffusion.guidance import Guide
from restorer.entry import card, parse_entry
from restorer.errors import ModelError, UsageError
from restorer.load import build_guide, build_net
from restorer.restore import Restorer
from restorer.settings import Settings, adjusted

GUIDE = {
    **{"arch": "adm_encoder", "classes": 3, "size": 16, "widths": [8, 8], "layers": 1, "attention": [False, True]},
    **{"head_width": 8, "groups": 4},
}
STRONG = GUIDE | {"scale": 2000}
"""A random classifier has slight slopes."""
ADM = {
    **{"arch": "adm_unet", "widths": [8, 8], "layers": 1, "attention": [False, False]},
    **{"head_width": 8, "groups": 4, "classes": 3, "label": 1},
}
"""A net of classes."""
VP = {"kind": "vp", "T": 100}
SAMPLE = {"sampler": "ddim", "times": "leading"}


def random(net, seed):
    rng = torch.Generator().manual_seed(seed)
    return {key: 0.2 * torch.randn(value.shape, generator=rng) for key, value in net.state_dict().items()}


def loaded(folder, *, guide=None, classes=False, dtype="fp32", **changes):
    state = random(build_net(ADM), 0) if classes else toy_net(in_channels=3).state_dict()
    if guide is not None:
        known = {key: value for key, value in guide.items() if key in GUIDE}
        state |= {f"guide.{key}": value for key, value in random(build_guide(known), 1).items()}
        changes["guide"] = guide
    own = PRIOR | {"schedule": VP, "sample": SAMPLE} | changes
    folder = toy_model(folder, state=state, **own)
    if classes:
        folder = with_net(folder, ADM)  # a card's table would be laid over the toy's
    return Restorer.from_pretrained(str(folder), device="cpu", dtype=dtype)


def with_net(folder, net):
    data = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(data | {"net": net}))
    return folder


def drawn(model, **more):
    return next(model.generate(steps=3, seed=4, **more))


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_an_unguided_net_draws_as_without_a_guide_until_a_class_is_said(tmp_path, dtype):
    plain, guided = (loaded(tmp_path / name, guide=guide, dtype=dtype) for name, guide in (("a", None), ("b", STRONG)))
    assert (plain.entry.classes, guided.entry.classes) == (None, 3)
    # Not to the bit: where in a file weights lie decides where in memory, and kernels ask for that.
    assert torch.allclose(drawn(guided), drawn(plain), atol=1e-6 if dtype == "fp32" else 0.05)
    one, two = (drawn(guided, label=label) for label in (0, 2))
    assert (one - two).abs().max() > 1e-3 and (one - drawn(plain)).abs().max() > 1e-3
    still = loaded(tmp_path / "c", guide=GUIDE | {"scale": 0}, dtype=dtype)
    assert torch.equal(drawn(still, label=2), drawn(still))


def test_a_net_of_classes_is_told_the_class_and_its_guide_too(tmp_path):
    told, guided = (loaded(tmp_path / name, guide=guide, classes=True) for name, guide in (("a", None), ("b", STRONG)))
    assert torch.equal(drawn(told), drawn(told, label=1))
    assert (drawn(told) - drawn(told, label=2)).abs().max() > 1e-3
    assert torch.equal(drawn(guided), drawn(guided, label=1))
    assert (drawn(guided) - drawn(told)).abs().max() > 1e-4
    for label, said in ((None, 1), (2, 2)):
        found = adjusted(guided.denoiser, guided.entry, guided.settled(Settings(label=label)))
        assert (found.label, found.guide.label, found.guide.scale) == (said, said, 2000.0)
    assert guided.denoiser.guide.label == 1 and isinstance(guided.denoiser.guide, Guide)


def test_a_picture_of_a_class_is_the_same_in_any_batch(tmp_path):
    model = loaded(tmp_path / "m", guide=STRONG)
    together = torch.cat(list(model.generate(3, steps=3, seed=4, label=2)))
    assert torch.equal(together[:1], drawn(model, label=2))


def test_the_class_is_in_the_recipe_only_when_given(tmp_path):
    model = loaded(tmp_path / "m", guide=GUIDE)
    assert model.recipe(Settings(label=0))["class"] == 0
    assert "class" not in model.recipe(Settings())


def test_classes_that_cannot_be(tmp_path, toy_restorer):
    with pytest.raises(UsageError, match=r"^Model 'toy' knows no classes; leave out --class\.$"):
        toy_restorer.settled(Settings(label=0))
    model = loaded(tmp_path / "m", guide=GUIDE)
    for label in (3, -1):
        with pytest.raises(UsageError, match=f"^class must be from 0 to 2, those of toy; not {label}"):
            model.settled(Settings(label=label))


def test_a_guide_knows_one_size(tmp_path):
    model = loaded(tmp_path / "m", guide=GUIDE)
    assert model.entry.guide.get("scale") is None and model.denoiser.guide.scale == 1.0
    with pytest.raises(UsageError, match="The classifier that guides toy knows 16x16 pixels only, not 16x20"):
        drawn(model, label=0, size=(16, 20))
    assert drawn(model, size=(16, 20)).shape == (1, 3, 20, 16)


def test_a_card_with_a_guide_comes_back_whole():
    entry = parse_entry(card_data(**PRIOR, guide=GUIDE | {"scale": 4.0}), "card")
    assert parse_entry(json.loads(json.dumps(card(entry))), "card") == entry
    assert "guide" not in card(parse_entry(card_data(), "card"))


@pytest.mark.parametrize(
    ("guide", "changes", "words"),
    [
        (GUIDE | {"arch": "resnet"}, {}, "Unknown guide arch 'resnet'"),
        (GUIDE | {"levels": 3}, {}, "guide: Unknown key 'levels'"),
        (GUIDE | {"classes": None}, {}, "guide: classes must say how many it knows, a whole number, not None"),
        (GUIDE | {"scale": -1}, {}, "guide: scale must be a number from 0 up, not -1"),
        (GUIDE | {"scale": "much"}, {}, "guide: scale must be a number from 0 up, not 'much'"),
        (GUIDE, {"task": "derain"}, "a classifier guides models that draw, of the task generate; not derain"),
        (GUIDE, {"predict": {"output": "res", "input": ["x"]}}, "Guidance is for nets that are shown x, told the time"),
    ],
)
def test_a_guide_that_does_not_fit_is_a_sentence(tmp_path, guide, changes, words):
    own = PRIOR | {"schedule": VP, "sample": SAMPLE, "guide": guide} | changes
    folder = toy_model(tmp_path / "m", state=toy_net(in_channels=3).state_dict(), **own)
    with pytest.raises(ModelError, match=words):
        Restorer.from_pretrained(str(folder), device="cpu", dtype="fp32")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size": 18}, "knows pictures of 18x18 pixels only, which the net cannot draw"),
        ({"in_channels": 4}, r"the guide must make \(3\) of \(3, 16, 16\), but fails"),
    ],
)
def test_a_guide_of_other_sizes_with_its_own_weights_is_a_sentence(tmp_path, change, words):
    guide = GUIDE | change
    weights = {f"guide.{key}": value for key, value in build_guide(guide).state_dict().items()}
    own = PRIOR | {"schedule": VP, "sample": SAMPLE, "guide": guide}
    folder = toy_model(tmp_path / "m", state=toy_net(in_channels=3).state_dict() | weights, **own)
    with pytest.raises(ModelError, match=words):
        Restorer.from_pretrained(str(folder), device="cpu", dtype="fp32")


def test_net_and_guide_must_know_as_many_classes(tmp_path):
    with pytest.raises(ModelError, match="the net knows 3 classes, its guide 4; they do not belong together"):
        loaded(tmp_path / "m", guide=GUIDE | {"classes": 4}, classes=True)


def test_weights_without_the_guides_are_refused(tmp_path):
    own = PRIOR | {"schedule": VP, "sample": SAMPLE, "guide": GUIDE}
    folder = toy_model(tmp_path / "m", state=toy_net(in_channels=3).state_dict(), **own)
    with pytest.raises(ModelError, match="87 missing: guide"):
        Restorer.from_pretrained(str(folder), device="cpu", dtype="fp32")
