"""Card + weights -> a net that samplers can use."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from restorer import heap, hub
from restorer.compiling import Compiled
from restorer.device import few_products_pay, is_out_of_memory
from restorer.diffusion.guidance import Guide
from restorer.diffusion.predict import CLIPS, DECONVOLVED, INPUTS, OUTPUTS, TIMES, Denoiser
from restorer.diffusion.samplers import GRIDS, SAMPLERS
from restorer.diffusion.schedule import SCHEDULES, Schedule
from restorer.entry import GENERATE, Entry, embedded, parse_entry, read_entry
from restorer.errors import DeviceError, ModelError, UsageError, unknown
from restorer.graphs import captured
from restorer.hub.checked import sha256_of
from restorer.hub.layout import SAFE, is_diffusers, leaves
from restorer.nets import CODECS, GUIDES, NETS
from restorer.nets.enlarge import fold
from restorer.nets.winograd import winograd
from restorer.prepare import preparation
from restorer.strict import misfit

CARD = "config.json"


class Origin(NamedTuple):
    """Where on the Hugging Face Hub a model is from: OWNER/REPO, and the commit, 40 hex digits."""

    repo: str
    revision: str


class Found(NamedTuple):
    """A model on this machine: its card, its weights' file, and the sha256 that was checked.

    ``read``: weights of another program's making are read by this, (file, card) -> state dict.
    ``origin``: None for what was found on this machine.
    """

    entry: Entry
    weights: Path
    sha256: str
    read: Callable[[Path, Entry], dict[str, Tensor]] | None = None
    origin: Origin | None = None


def find(model: str, *, pickled: bool = False) -> Found:
    """What ``-m`` names, in this order.

    A model that comes with restorer; a folder, of ours or of diffusers; a .safetensors file, which has its card inside;
    a model of the catalogue; OWNER/REPO[@REVISION] on the Hugging Face Hub. The last two are fetched unless here.

    ``pickled``: a folder of diffusers may keep its weights in a pickle; for those who convert it.
    Raises ``ModelError`` when there is none, when it cannot be fetched, or when the weights are not those of the card.
    """
    path = embedded().get(model, Path(model))
    if path.exists():
        return local(path, model, pickled)
    listing = hub.listed(model)
    if listing is not None:
        return _listed(listing)
    place = hub.address(model)
    if place is None:
        return local(path, model, pickled)
    folder, commit = hub.fetch(*place, pickled=pickled)
    found = local(folder, model, pickled)._replace(origin=Origin(place.repo, commit))
    if found.read is None:
        return found
    # Folders of diffusers say nothing of themselves, and this one is called by its commit.
    source = f"{place.repo} on the Hugging Face Hub, commit {commit}"
    return found._replace(entry=replace(found.entry, name=place.repo.partition("/")[2], source=source))


def _listed(listing: hub.Listing) -> Found:
    """A model of the catalogue, with what the catalogue knows of it."""
    from restorer.convert.kept import converted  # it loads what it has written

    folder, commit = hub.fetch_listed(listing)
    if not listing.file.endswith(SAFE):
        folder = converted(listing, folder, commit)
    found = local(folder, listing.name)
    source = f"{listing.repo} on the Hugging Face Hub, commit {commit}"
    known = {"name": listing.name, "license": listing.license, "data": listing.data, "source": source}
    return found._replace(entry=replace(found.entry, **known), origin=Origin(listing.repo, commit))


def local(path: Path, model: str, pickled: bool = False) -> Found:
    """A model of this machine; ``model`` is how it was called. Raises as ``find``."""
    if path.suffix == SAFE:
        return _found(card_inside(path), path)
    if is_diffusers(path):
        from restorer.convert.diffusers import entry_of, read_state

        entry, weights = entry_of(path)
        if not pickled:
            hub.check_safe(model, weights.name)
        return _found(entry, _inside(path, weights.relative_to(path).as_posix()))._replace(read=read_state)
    if path.is_dir():
        if not (path / CARD).exists():
            raise ModelError(
                f"{path}: a folder without {CARD}, so no model; give the folder that holds a model's card."
            )
        entry = read_entry(path / CARD)
        if entry.weights is None:
            raise ModelError(f"{path / CARD}: the card names no weights; train or convert the model again.")
        return _found(entry, _inside(path, entry.weights.file))
    known = ", ".join(embedded()) or "none"
    raise ModelError(
        f"No model {model!r}: no such folder or .safetensors file, no name of the catalogue, no OWNER/REPO of the Hub, "
        f"and restorer comes with: {known}."
    )


def card_inside(file: Path) -> Entry:
    """The card in the metadata of a .safetensors file. Raises ``ModelError``."""
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
    except FileNotFoundError as error:
        raise ModelError(f"{file}: no such model file.") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: no safetensors file: {error}") from error
    if CARD not in metadata:
        raise ModelError(f"{file}: carries no card, so how to use it is unknown; give the model's folder instead.")
    try:
        data = json.loads(metadata[CARD])
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} ({CARD}): the model's card is no JSON: {error}.") from error
    return parse_entry(data, f"{file} ({CARD})")


def _found(entry: Entry, weights: Path) -> Found:
    try:
        sha256 = sha256_of(weights)
    except OSError as error:
        raise ModelError(f"{weights}: cannot read the model's weights: {error.strerror}.") from error
    if entry.weights is not None and sha256 != entry.weights.sha256:
        raise ModelError(
            f"{weights}: not the weights of {entry.name}: sha256 {sha256}, the card says {entry.weights.sha256}. "
            "Get the file again."
        )
    return Found(entry, weights, sha256)


def _inside(folder: Path, name: str) -> Path:
    """``folder / name``, refused when the name, or a link, leaves the folder."""
    if leaves(name):
        raise ModelError(f"{folder / CARD}: the weights' file {name!r} leaves the model's folder.")
    root, file = folder.resolve(), (folder / name).resolve()
    if not file.is_relative_to(root) and not _is_blob(root, file):
        raise ModelError(f"{folder / name}: a link out of the model's folder, to {file}; put the file itself there.")
    return folder / name


def _is_blob(root: Path, file: Path) -> bool:
    """Whether a folder is one of the Hub's cache, which is made of links, and the file is where those lead."""
    cached = root.parent.name == "snapshots"
    return cached and any(file.is_relative_to(place / "blobs") for place in root.parents[1:3])


def build_net(net: Mapping[str, Any]) -> nn.Module:
    """A fresh net of a card's ``net`` table. Raises ``UsageError``."""
    return _build("net", "arch", net, NETS)


def build_codec(codec: Mapping[str, Any]) -> nn.Module:
    """A fresh net between pictures and latents, of a card's ``codec`` table. Raises ``UsageError``."""
    return _build("codec", "arch", codec, CODECS)


def build_guide(guide: Mapping[str, Any]) -> nn.Module:
    """A fresh classifier of a card's ``guide`` table. Raises ``UsageError``."""
    return _build("guide", "arch", {key: value for key, value in guide.items() if key != "scale"}, GUIDES)


def build_schedule(schedule: Mapping[str, Any]) -> Schedule:
    """The schedule of a card's ``schedule`` table. Raises ``UsageError``."""
    return _build("schedule", "kind", schedule, SCHEDULES)


def _build(what: str, key: str, table: Mapping[str, Any], builders: Mapping[str, Callable[..., Any]]) -> Any:
    options = dict(table)
    name = str(options.pop(key, None))
    if name not in builders:
        raise unknown(f"{what} {key}", name, list(builders))
    known = list(inspect.signature(builders[name]).parameters)
    for option in options:
        if option not in known:
            raise UsageError(f"{what}: {unknown('key', option, known)}")
    try:
        return builders[name](**options)
    except (TypeError, ValueError, IndexError, RuntimeError) as error:
        raise UsageError(f"{what} {name!r}: {error}") from error


def check_names(entry: Entry) -> None:
    """Raises ``UsageError`` when the card uses a word that is in no table, or that the rest of it makes nonsense."""
    for kind, name, table in (
        ("output", entry.predict.output, OUTPUTS),
        *(("input", name, INPUTS) for name in entry.predict.input),
        ("time", entry.predict.time, TIMES),
        ("clip", entry.predict.clip, CLIPS),
        ("sampler", entry.sample.sampler, SAMPLERS),
        ("times", entry.sample.times, GRIDS),
    ):
        if name not in table:
            raise unknown(kind, name, list(table))
    if entry.prepare is not None and entry.task == GENERATE:
        raise UsageError("prepare: a model that draws new pictures is given none to prepare.")
    prepared = preparation(entry.prepare)
    if (prepared.scale != 1 or prepared.side) and "mask" in entry.predict.input:
        raise UsageError(
            f"prepare: {entry.prepare} makes the picture smaller or larger than the mask that the net is shown."
        )
    deconvolved = set(DECONVOLVED) & set(entry.predict.input)
    if bool(prepared.beside) != bool(deconvolved):
        raise UsageError(
            "predict: a net is shown the picture deconvolved where it is prepared so; give both, prepare = "
            '"deconvolve" and "deconvolved" in input, or neither.'
        )
    if deconvolved and "mask" in entry.predict.input:
        raise UsageError("predict: a net is shown a mask or the picture deconvolved, not both; leave one out of input.")


def load(found: Found, device: torch.device, dtype: torch.dtype, *, compile: bool = False) -> Denoiser:
    """The model's net on a device, ready for samplers; ``compile``: it is compiled when it is first called.

    Raises ``ModelError`` when card and weights do not agree, ``DeviceError`` when the device has too little memory or
    nothing to compile with.
    """
    entry = found.entry
    if device.type == "cpu":
        heap.keep()
    try:
        check_names(entry)
        with torch.device("meta"):
            net = build_net(entry.net)
            if entry.codec is not None:
                net.add_module("codec", build_codec(entry.codec))  # a part of the net, as its weights are
            if entry.guide is not None:
                net.add_module("guide", build_guide(entry.guide))
        schedule = build_schedule(entry.schedule)
        loaded = denoiser(net, schedule, entry, dtype)
        state = _state(found, device, dtype)
        wrong = misfit(net, state)
        if wrong:
            raise UsageError(f"{wrong}.")
        net.load_state_dict(state, assign=True)
        net = answering(net, device, dtype)
        with torch.inference_mode(), device:
            check_sizes(net, entry, dtype)
    except (UsageError, RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise DeviceError(f"Model {entry.name!r} does not fit into the memory of {device}; use another.") from error
        told = " ".join(str(error).split())  # torch speaks in many lines
        raise ModelError(f"Model {entry.name!r} cannot be loaded: {told}") from error
    return replace(loaded, net=Compiled(net, device) if compile else captured(net, device))


def answering(net: nn.Module, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """A net that will only answer, with weights of that type there, in the form that is fastest: equal to rounding."""
    net = fold(net.to(memory_format=torch.channels_last).eval().requires_grad_(False))
    return winograd(net) if few_products_pay(device, dtype) else net


def _state(found: Found, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    if found.read is None and not _is_named_by_diffusers(found):
        return read_weights(found.weights, device, dtype)
    from restorer.convert.diffusers import read_state

    read = found.read or read_state
    return {key: value.to(device, dtype) for key, value in read(found.weights, found.entry).items()}


def _is_named_by_diffusers(found: Found) -> bool:
    """Whether a model of ours keeps its weights under the names that diffusers has for them, for both to load it."""
    if found.entry.net.get("arch") != "ddpm_unet":
        return False
    from restorer.convert.diffusers import SIGN

    try:
        with safe_open(found.weights, "pt") as opened:
            return SIGN in opened.keys()  # noqa: SIM118  no mapping
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{found.weights}: no safetensors file: {error}") from error


def check_sizes(net: nn.Module, entry: Entry, dtype: torch.dtype) -> None:
    """Raises ``UsageError`` when a net does not take and give pictures of the card's sizes.

    It is run on the smallest there may be: on the meta device the same would import torch's compiler, half a second.
    """
    side = entry.size.multiple * -(-entry.size.minimum // entry.size.multiple)
    channels, height, width = 3, side, side
    if entry.codec is not None:
        channels, height, width = _check_codec(net.get_submodule("codec"), side, dtype)
    if entry.guide is not None:
        _check_guide(net.get_submodule("guide"), entry, dtype)
    fed, wanted = channels * len(entry.predict.input), channels * OUTPUTS[entry.predict.output].count
    what = f"the net must make ({wanted}, {height}, {width}) of ({fed}, {height}, {width})"
    try:
        made = tuple(net(torch.zeros(1, fed, height, width, dtype=dtype), torch.zeros(1)).shape[1:])
    except RuntimeError as error:
        raise _failing(what, error) from error
    if made != (wanted, height, width):
        raise UsageError(f"{what}, but makes {made}.")


def _failing(what: str, error: RuntimeError) -> Exception:
    return error if is_out_of_memory(error) else UsageError(f"{what}, but fails: {error}")


def _check_codec(codec: nn.Module, side: int, dtype: torch.dtype) -> tuple[int, ...]:
    """The shape of a latent. Raises ``UsageError`` for a codec that does not give back what it is given."""
    what = f"the codec must make (3, {side}, {side}) of its latent"
    try:
        latent, hidden = codec.encode(torch.zeros(1, 3, side, side, dtype=dtype))
        made = tuple(codec.decode(latent, hidden).shape[1:])
    except RuntimeError as error:
        raise _failing(what, error) from error
    if made != (3, side, side):
        raise UsageError(f"{what}, but makes {made}.")
    return tuple(latent.shape[1:])


def _check_guide(guide: nn.Module, entry: Entry, dtype: torch.dtype) -> None:
    """Raises ``UsageError`` for a classifier of other pictures or classes than the net's."""
    own, classes = entry.net.get("classes"), guide.classes
    if own not in (None, classes):
        raise UsageError(f"guide: the net knows {own} classes, its guide {classes}; they do not belong together.")
    side = guide.size
    if side < entry.size.minimum or side % entry.size.multiple:
        raise UsageError(f"guide: knows pictures of {side}x{side} pixels only, which the net cannot draw.")
    what = f"the guide must make ({classes}) of (3, {side}, {side})"
    try:
        made = tuple(guide(torch.zeros(1, 3, side, side, dtype=dtype), torch.zeros(1)).shape[1:])
    except RuntimeError as error:
        raise _failing(what, error) from error
    if made != (classes,):
        raise UsageError(f"{what}, but makes {made}.")


def denoiser(net: nn.Module, schedule: Schedule, entry: Entry, dtype: torch.dtype = torch.float32) -> Denoiser:
    """``net`` used as the card says. Raises ``UsageError`` for a net whose output means nothing with the schedule."""
    p = entry.predict
    if p.output == "euler_eps" and schedule.shift[-1] == 1:
        raise UsageError(
            f"the net says euler_eps, which means nothing at t = {schedule.T}; nothing of x0 is left there."
        )
    codec = None if entry.codec is None else net.get_submodule("codec")
    guide = None
    if entry.guide is not None:
        guide = Guide(net.get_submodule("guide"), float(entry.guide.get("scale", 1.0)), entry.label(None))
    try:
        return Denoiser(net, schedule, p.output, p.input, p.time, p.clip, p.range, dtype, codec, guide=guide)
    except ValueError as error:
        raise UsageError(str(error)) from error


def read_weights(file: Path, device: torch.device, dtype: torch.dtype) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, floats as ``dtype``. Raises ``ModelError``."""
    try:
        with safe_open(file, "pt", device=str(device)) as opened:
            tensors = {key: opened.get_tensor(key) for key in list(opened.keys())}
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{file}: no safetensors file: {error}") from error
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in tensors.items()}
