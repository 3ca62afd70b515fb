"""README.md of a model: the card that people, and the Hugging Face Hub, read.

huggingface_hub, which knows how the Hub wants to be told, is imported by functions only.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from restorer.entry import GENERATE, Entry
from restorer.images.atomic import write_bytes
from restorer.prepare import preparation

README = "README.md"
PICTURE = "before_after.jpg"
"""The file beside the card that shows what the model does."""
LIBRARY = "restorer"
MARK = "<!-- Written by restorer, which writes it anew; without this line it stays as it is. -->"

PIPELINES = {GENERATE: "unconditional-image-generation"}
"""Task -> the Hub's word for it, where it is not image-to-image."""

UNKNOWN = "unknown"
NO_LICENCE = (
    "Nobody has said under which licence these weights are, so nobody may be presumed to allow their use or to pass "
    "them on: ask those who made them."
)
INVENTS = (
    "**A diffusion model invents detail.** What it draws is likely, not true: letters, faces and textures may be its "
    "own. Not for forensic or medical use, nor for any other that takes the picture for what was there."
)
PROTOCOL = (
    "Means over the set. psnr is in dB; psnr and ssim are over RGB of the 8-bit pictures that are written, psnr-y and "
    "ssim-y over their luma."
)
_NOTES = "## To know\n\n"


def write_readme(folder: Path, entry: Entry, notes: Sequence[str] = ()) -> bool:
    """Write the card of the model in ``folder``; False where another card is there, which stays.

    ``notes``: what else a user of the model must know, a sentence each.
    """
    file = folder / README
    if file.exists() and MARK not in file.read_text(encoding="utf-8", errors="replace"):
        return False
    write_bytes(file, readme(entry, notes, picture=(folder / PICTURE).is_file()).encode())
    return True


def readme(entry: Entry, notes: Sequence[str] = (), *, model: str = "FOLDER", picture: bool = False) -> str:
    """The text of the card: YAML for the Hub, then what the model is, whose, how it is used, and what to know.

    ``model``: what ``-m`` takes to use it. ``picture``: before_after.jpg is beside it.
    """
    command = f"restorer {'generate new/' if entry.task == GENERATE else 'restore photo.jpg'} -m {model}"
    command += " --mask mask.png" if preparation(entry.prepare).fills or "mask" in entry.predict.input else ""
    known = dict.fromkeys([*notes, *([NO_LICENCE] if entry.license == UNKNOWN else [])])
    shown = f"![Before and after, by the same model]({PICTURE})\n\n" if picture else ""
    return f"""---
{_front(entry)}
---

{MARK}

# {_line(entry.name)}

A model for the task `{entry.task}`, by the method {_line(entry.method)}, for restorer:

    {command}

{shown}| | |
|---|---|
{_rows(_facts(entry))}

config.json beside this file says everything that is needed to run the model.

## Measured

{_measured(entry)}

## Trained on

{_line(entry.data)}

## Limits

{_list(_limits(entry))}
""" + (f"\n{_NOTES}{_list(known)}\n" if known else "")


def notes_of(text: str) -> tuple[str, ...]:
    """The notes that ``readme`` was given, of a text that it made."""
    said = (line.removeprefix("* ") for line in text.partition(_NOTES)[2].splitlines() if line.startswith("* "))
    return tuple(note for note in said if note != NO_LICENCE)


def licence_words(entry: Entry) -> dict[str, str]:
    """The licence as the Hub's YAML says it: one of the words it knows, or the name behind "other"."""
    said = entry.license.lower()
    if said == UNKNOWN or said in HUB_LICENCES:
        return {"license": said}
    return {"license": "other", "license_name": _line(entry.license)}


def _front(entry: Entry) -> str:
    """The Hub's YAML, each text in one line: one of dashes would end it."""
    from huggingface_hub import EvalResult, ModelCardData

    pipeline = PIPELINES.get(entry.task, "image-to-image")
    # The Hub joins results of equal type and config; the sets have no ids there, so the config tells them apart.
    results = [
        EvalResult(
            task_type=pipeline,
            task_name=entry.task,
            dataset_type=UNKNOWN,
            dataset_name=_line(score.set),
            dataset_config=_line(score.set),
            metric_type=_line(score.metric),
            metric_name=f"{_line(score.metric)}, {score.steps} steps, seed {score.seed}",
            metric_value=score.value,
            metric_args={"steps": score.steps, "seed": score.seed, "eta": entry.sample.eta},
        )
        for score in entry.expect
    ]
    data = ModelCardData(
        library_name=LIBRARY,
        pipeline_tag=pipeline,
        tags=["image-generation" if entry.task == GENERATE else "image-restoration", entry.task, _line(entry.method)],
        metrics=list(dict.fromkeys(_line(score.metric) for score in entry.expect)) or None,
        model_name=_line(entry.name),
        eval_results=results or None,
        **licence_words(entry),
    )
    return data.to_yaml()


def _facts(entry: Entry) -> list[tuple[str, str]]:
    p, own = entry.predict, entry.sample
    schedule = ", ".join(f"{key} {value}" for key, value in entry.schedule.items() if not isinstance(value, list))
    start = f", start with noise of size {own.start:g}" if own.start is not None else ""
    trained = f"; trained on {entry.size.trained} pixels" if entry.size.trained else ""
    rows = [
        ("from", entry.source),
        ("licence of the weights", entry.license),
        ("net", ", ".join(f"{key} {value}" for key, value in entry.net.items())),
        ("schedule", schedule),
        ("the net says", f"`{p.output}`, shown {', '.join(p.input)}, told `{p.time}`, pixels in {list(p.range)}"),
        ("clipping", f"`{p.clip}`" + (": as the official code, residuals too" if p.clip == "official" else "")),
        ("sampling", f"`{own.sampler}`, {own.steps} steps, eta {own.eta:g}, times `{own.times}`{start}"),
        ("sizes", f"sides of at least {entry.size.minimum}, padded to multiples of {entry.size.multiple}{trained}"),
    ]
    if entry.guide:
        rows += [("guided by", ", ".join(f"{key} {value}" for key, value in entry.guide.items()))]
    before = f"`{entry.prepare}`, by restorer: {preparation(entry.prepare).told}"
    return rows + ([("before", before)] if entry.prepare else [])


def _measured(entry: Entry) -> str:
    if not entry.expect:
        return "No score was measured."
    rows = [(s.set, s.metric, f"{s.value:g}", str(s.steps), f"{entry.sample.eta:g}", str(s.seed)) for s in entry.expect]
    head, told = ["set", "metric", "score", "steps", "eta", "seed"], PROTOCOL
    timed = [s.seconds_per_megapixel for s in entry.expect]
    if any(timed):
        machines = dict.fromkeys(s.machine for s in entry.expect if s.machine)
        head, told = (
            [*head, "s/MP"],
            f"{PROTOCOL} s/MP: seconds a megapixel of the result ({_line('; '.join(machines))}).",
        )
        rows = [(*row, "" if seconds is None else f"{seconds:g}") for row, seconds in zip(rows, timed, strict=True)]
    return f"{told}\n\n{_rows([head])}\n|{'---|' * len(head)}\n{_rows(rows)}"


def _limits(entry: Entry) -> list[str]:
    size = entry.size
    sides = [f"Pictures with a side below {size.minimum} pixels are refused."]
    if size.trained:
        sides += [
            f"It was trained on {size.trained} x {size.trained} pixels; what is larger than that it never saw whole."
        ]
    if entry.task == GENERATE:
        purpose = "It knows pictures like those that it was trained on; of others it draws poor ones."
    else:
        purpose = f"It was trained for `{entry.task}`; how it does on damage that it was not shown then is not known."
    return [*sides, purpose, INVENTS]


def _rows(rows: Iterable[Sequence[str]]) -> str:
    """Lines of a table. A name cannot break out of its cell."""
    return "\n".join("| " + " | ".join(_line(cell).replace("|", "\\|") for cell in row) + " |" for row in rows)


def _list(sentences: Iterable[str]) -> str:
    return "\n".join(f"* {_line(sentence)}" for sentence in sentences)


def _line(text: str) -> str:
    return " ".join(text.split())


HUB_LICENCES = (
    *("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "mpl-2.0", "openrail", "unlicense"),
)
"""Names that the Hub knows; others are told in its words for those."""
