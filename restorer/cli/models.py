"""``restorer models list`` and ``info``: what there is, read from the models' cards alone."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restorer.cli import options as o
from restorer.cli import output
from restorer.cli.offers import of_model
from restorer.entry import GENERATE, Entry, card, embedded, read_entry
from restorer.errors import ModelError, unknown

if TYPE_CHECKING:
    from restorer.hub import Listing

CARD = "config.json"
MASK = "needed, white where a picture is damaged: --mask FILE or FOLDER"

LIST_EXAMPLES = """\
  restorer models list
  restorer models list --local -q                 names only, of those on this machine
  restorer models list --task generate --json | jq .name"""

INFO_EXAMPLES = """\
  restorer models info rddm-derain-tiny
  restorer models info runs/my-model              a folder that training wrote, or diffusers did
  restorer models info google/ddpm-cifar10-32     on the Hugging Face Hub; weights are not fetched"""

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of a model, its folder, or OWNER/REPO[@REVISION] on the Hub.")
]
Task = Annotated[str | None, typer.Option("--task", "-T", help="Only those for this task.", show_default=False)]
Local = Annotated[bool, typer.Option("--local", help="Only those on this machine.")]
Names = Annotated[bool, typer.Option("--quiet", "-q", help="Only names, one a line.")]


def list_models(task: Task = None, local: Local = False, json: o.JsonOnly = False, quiet: Names = False) -> None:
    """Models that are known by name, with task, size, licence, whether they are here, and measured score."""
    rows = [row for row in _rows() if task in (None, *row["tasks"]) and (row["here"] or not local)]
    if json:
        for row in rows:
            output.json_line(row)
    elif quiet:
        for row in rows:
            output.result(row["name"])
    else:
        output.table(list(HEADER), [[words(row) for words in HEADER.values()] for row in rows])


def info(name: Name, json: o.JsonOnly = False) -> None:
    """Card of a model: defaults, size rule, licence, source, training data, measured scores, path, checksum."""
    folder = embedded().get(name, Path(name).expanduser())
    if folder.exists():
        return _show(_entry(folder, name), folder, json)
    from restorer.hub import address, listed, peek

    listing = listed(name)
    if listing is not None:
        return _show_listing(listing, json)
    place = address(name)
    if place is None:
        return _show(_entry(folder, name), folder, json)
    with peek(*place) as seen:
        origin = {"repo": place.repo, "revision": seen.commit}
        _show(_entry(seen.folder, name), None if seen.passing else seen.folder, json, origin)


def _show(entry: Entry, folder: Path | None, json: bool, origin: dict[str, str] | None = None) -> None:
    origin = origin or {}
    if json:
        output.json_line(card(entry) | ({"path": str(folder)} if folder else {}) | origin)
    else:
        output.pairs([*_facts(entry, folder), *origin.items()])


def _entry(folder: Path, name: str) -> Entry:
    """The card in a folder, or the one that a folder of diffusers comes to."""
    file = folder / CARD
    # A look at the text, since what reads diffusers' folders loads torch.
    if _is_ours(folder):
        return read_entry(file)
    from restorer.hub.layout import is_diffusers

    if is_diffusers(folder):
        from restorer.convert.diffusers import entry_of

        return entry_of(folder)[0]
    from restorer.hub import catalog

    known = [*embedded(), *catalog()]
    raise ModelError(str(unknown("model", name, known)) if known else f"No model {name!r}: give a model's folder.")


def card_of(name: str) -> Entry:
    """The card of a model that is here or on the Hub; weights are not fetched. Raises ``ModelError``."""
    folder = embedded().get(name, Path(name).expanduser())
    if not folder.exists():
        from restorer.hub import address, listed, peek

        place = None if listed(name) else address(name)
        if place is not None:
            with peek(*place) as seen:
                return _entry(seen.folder, name)
    return _entry(folder, name)


def _rows() -> Iterator[dict[str, Any]]:
    from restorer.hub.catalog import catalog
    from restorer.hub.shelf import is_here, others

    for folder in embedded().values():
        yield _row(read_entry(folder / CARD), folder)
    for listing in catalog().values():
        pinned = {"repo": listing.repo, "revision": listing.revision, "pinned": listing.is_pinned}
        told = {
            "name": listing.name,
            "tasks": [listing.task],
            "task": listing.task,
            "method": listing.method,
            "bytes": int(listing.size),
        }
        told |= {"license": listing.license, "here": is_here(listing), "scores": []}
        yield told | pinned | {"good_for": listing.good_for}
    for repo, commit, folder in others():
        row = _row(read_entry(folder / CARD), folder) if _is_ours(folder) else dict(UNTOLD)
        yield row | {"name": repo, "repo": repo, "revision": commit}


def _row(entry: Entry, folder: Path) -> dict[str, Any]:
    here = entry.weights is not None and (folder / entry.weights.file).is_file()
    scores = [{"set": e.set, "metric": e.metric, "value": e.value, "steps": e.steps} for e in entry.expect]
    return {
        **{"name": entry.name, "task": entry.task, "tasks": list(entry.tasks), "method": entry.method},
        **{"bytes": entry.weights and entry.weights.bytes, "license": entry.license, "here": here, "scores": scores},
        **{"pinned": True},
    }


def _is_ours(folder: Path) -> bool:
    return (folder / CARD).is_file() and '"_class_name"' not in (folder / CARD).read_text("utf-8", "replace")


UNTOLD: dict[str, Any] = {
    **{"name": None, "task": GENERATE, "tasks": [GENERATE], "method": "ddpm", "bytes": None, "license": "unknown"},
    **{"here": True, "scores": [], "pinned": True},
}
"""A row of what diffusers wrote, which says nothing of itself."""

HEADER = {
    "name": lambda row: row["name"],
    "task": lambda row: ", ".join(row["tasks"]),
    "method": lambda row: row["method"],
    "MB": lambda row: f"{row['bytes'] / 1e6:.1f}" if row["bytes"] else "?",
    "licence": lambda row: row["license"],
    "here": lambda row: "yes" if row["here"] else "no",
    "pinned": lambda row: "yes" if row["pinned"] else "no",
    "score": lambda row: _score(row["scores"][0]) if row["scores"] else "",
}


def _score(score: dict[str, Any]) -> str:
    return f"{score['value']:g} {score['metric']} ({score['set']})"


def _show_listing(listing: "Listing", json: bool) -> None:
    """What the catalogue knows, which asks nobody."""
    from dataclasses import asdict

    from restorer.hub.catalog import pinned
    from restorer.hub.shelf import is_here

    commit, sha256 = pinned(listing)
    here = is_here(listing)
    if json:
        return output.json_line(
            asdict(listing) | {"revision": commit, "sha256": sha256, "pinned": listing.is_pinned, "here": here}
        )
    unsure = "not known; what the Hub has at the first use is noted, and meant from then on"
    output.pairs(
        [
            ("name", listing.name),
            ("task", listing.task),
            ("method", listing.method),
            ("good for", listing.good_for),
            ("trained on", f"{listing.data}, {listing.trained} pixels"),
            ("licence", listing.license),
            ("weights", f"{listing.size / 1e6:.1f} MB, {listing.file}"),
            ("here", "yes" if here else "no"),
            ("repo", listing.repo),
            ("revision", commit or unsure),
            ("sha256", sha256 or unsure),
        ]
    )


def _facts(entry: Entry, folder: Path | None) -> list[tuple[str, str]]:
    size, sample, weights = entry.size, entry.sample, entry.weights
    facts = [
        ("name", entry.name),
        ("task", ", ".join(entry.tasks)),
        ("method", f"{entry.method}, sampler {sample.sampler}, net {entry.net.get('arch')}"),
        ("steps", str(sample.steps)),
        ("eta", f"{sample.eta:g}"),
        ("size", f"any from {size.minimum} x {size.minimum} pixels, padded to multiples of {size.multiple}"),
        *([("prepare", entry.prepare)] if entry.prepare else []),
        *([("mask", MASK)] if "mask" in entry.predict.input else []),
        ("trained on", f"crops of {size.trained} pixels" if size.trained else "crops of unknown size"),
        ("licence", entry.license),
        ("source", entry.source),
        ("data", entry.data),
    ]
    for e in entry.expect:
        facts.append(
            ("measured", f"{e.value:g} {e.metric} on {e.set}, {output.counted(e.steps, 'step')}, seed {e.seed}")
        )
    for offer in of_model(entry):
        if offer.how_fast:
            scale = f", {offer.scale} times" if offer.scale else ""
            of = f"{offer.task}{scale}: " if entry.serves else ""
            facts.append(("how fast", f"{of}{offer.how_fast}"))
    if weights:
        facts += [
            ("weights", f"{weights.bytes / 1e6:.1f} MB, {weights.dtype}"),
            ("path", str(folder / weights.file) if folder else "not fetched"),
            ("sha256", weights.sha256),
        ]
    return facts
