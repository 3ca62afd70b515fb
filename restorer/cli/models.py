"""``restorer models``: what there is, read from the models' cards alone."""

from pathlib import Path
from typing import Annotated, Any

import typer

from restorer.cli import options as o
from restorer.cli import output
from restorer.entry import Entry, card, embedded, read_entry
from restorer.errors import ModelError, unknown

CARD = "config.json"

LIST_EXAMPLES = """\
  restorer models list
  restorer models list --json | jq .name"""

INFO_EXAMPLES = """\
  restorer models info rddm-derain-tiny
  restorer models info runs/my-model              a folder that training wrote, or diffusers did
  restorer models info google/ddpm-cifar10-32     on the Hugging Face Hub; it is fetched first"""

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a model, its folder, or OWNER/REPO[@REVISION].")]


def list_models(json: o.JsonOnly = False) -> None:
    """Models that come with restorer, with task, size, licence, and measured score."""
    rows = [_row(read_entry(folder / CARD), folder) for folder in embedded().values()]
    if json:
        for row in rows:
            output.json_line(row)
    else:
        output.table(list(HEADER), [[words(row) for words in HEADER.values()] for row in rows])


def info(name: Name, json: o.JsonOnly = False) -> None:
    """Card of a model: defaults, size rule, licence, source, training data, measured scores, path, checksum."""
    folder = embedded().get(name, Path(name).expanduser())
    origin = []
    if folder.exists() or "/" not in name:
        entry = _entry(folder, name)
    else:
        from restorer.load import find

        found = find(name)
        entry, origin = found.entry, list(found.origin._asdict().items())
        folder = next(path for path in found.weights.parents if path.name == found.origin.revision)
    if json:
        output.json_line(card(entry) | {"path": str(folder)} | dict(origin))
    else:
        output.pairs([*_facts(entry, folder), *origin])


def _entry(folder: Path, name: str) -> Entry:
    """The card in a folder, or the one that a folder of diffusers comes to."""
    file = folder / CARD
    # A look at the text, since what reads diffusers' folders loads torch.
    if file.is_file() and '"_class_name"' not in file.read_text(encoding="utf-8", errors="replace"):
        return read_entry(file)
    from restorer.convert.diffusers import entry_of, is_diffusers

    if is_diffusers(folder):
        return entry_of(folder)[0]
    known = list(embedded())
    raise ModelError(str(unknown("model", name, known)) if known else f"No model {name!r}: give a model's folder.")


def _row(entry: Entry, folder: Path) -> dict[str, Any]:
    here = entry.weights is not None and (folder / entry.weights.file).is_file()
    scores = [{"set": e.set, "metric": e.metric, "value": e.value, "steps": e.steps} for e in entry.expect]
    return {
        **{"name": entry.name, "task": entry.task, "method": entry.method},
        **{"bytes": entry.weights and entry.weights.bytes, "license": entry.license, "here": here, "scores": scores},
    }


HEADER = {
    "name": lambda row: row["name"],
    "task": lambda row: row["task"],
    "method": lambda row: row["method"],
    "MB": lambda row: f"{row['bytes'] / 1e6:.1f}" if row["bytes"] else "?",
    "licence": lambda row: row["license"],
    "here": lambda row: "yes" if row["here"] else "no",
    "score": lambda row: _score(row["scores"][0]) if row["scores"] else "",
}


def _score(score: dict[str, Any]) -> str:
    return f"{score['value']:g} {score['metric']} ({score['set']})"


def _facts(entry: Entry, folder: Path) -> list[tuple[str, str]]:
    size, sample, weights = entry.size, entry.sample, entry.weights
    facts = [
        ("name", entry.name),
        ("task", entry.task),
        ("method", f"{entry.method}, sampler {sample.sampler}, net {entry.net.get('arch')}"),
        ("steps", str(sample.steps)),
        ("eta", f"{sample.eta:g}"),
        ("size", f"any from {size.minimum} x {size.minimum} pixels, padded to multiples of {size.multiple}"),
        *([("prepare", entry.prepare)] if entry.prepare else []),
        ("trained on", f"crops of {size.trained} pixels" if size.trained else "crops of unknown size"),
        ("licence", entry.license),
        ("source", entry.source),
        ("data", entry.data),
    ]
    for e in entry.expect:
        facts.append(("measured", f"{e.value:g} {e.metric} on {e.set}, {e.steps} steps, seed {e.seed}"))
    if weights:
        facts += [
            ("weights", f"{weights.bytes / 1e6:.1f} MB, {weights.dtype}"),
            ("path", str(folder / weights.file)),
            ("sha256", weights.sha256),
        ]
    return facts
