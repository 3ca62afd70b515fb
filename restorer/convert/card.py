"""README.md of a converted model: the card that people, and the Hugging Face Hub, read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from restorer.entry import GENERATE, Entry
from restorer.images.atomic import write_bytes
from restorer.prepare import preparation

README = "README.md"
MARK = "<!-- Written by `restorer models convert`, which writes it anew; without this line it stays as it is. -->"

PIPELINES = {GENERATE: "unconditional-image-generation"}
"""Task -> the Hub's word for it, where it is not image-to-image."""

UNKNOWN = "unknown"
NO_LICENCE = (
    "Nobody has said under which licence these weights are, so nobody may be presumed to allow their use or to pass "
    "them on: ask those who made them."
)


def write_readme(folder: Path, entry: Entry, notes: Sequence[str] = ()) -> bool:
    """Write the card of the model in ``folder``; False where another card is there, which stays.

    ``notes``: what else a user of the model must know, a sentence each.
    """
    file = folder / README
    if file.exists() and MARK not in file.read_text(encoding="utf-8", errors="replace"):
        return False
    write_bytes(file, readme(entry, notes).encode())
    return True


def readme(entry: Entry, notes: Sequence[str] = ()) -> str:
    """The text of the card: YAML for the Hub, then what the model is, whose, how it is used, and what to know."""
    command = f"restorer {'generate' if entry.task == GENERATE else 'restore photo.jpg'} -m FOLDER"
    command += " --mask mask.png" if preparation(entry.prepare).fills or "mask" in entry.predict.input else ""
    rows = "\n".join(f"| {name} | {value} |" for name, value in _facts(entry))
    known = [*notes, *([NO_LICENCE] if entry.license == UNKNOWN else [])]
    closing = "\n".join(f"* {sentence}" for sentence in dict.fromkeys(known))
    return f"""---
{_front(entry)}
---

{MARK}

# {entry.name}

A model for the task `{entry.task}`, by the method {entry.method}, for restorer:

    {command}

| | |
|---|---|
{rows}

No score was measured. config.json beside this file says everything that is needed to run the model.
""" + (f"\n## To know\n\n{closing}\n" if closing else "")


def _front(entry: Entry) -> str:
    """The Hub's YAML. JSON texts are YAML texts, so no name can break out of its place."""
    said = entry.license.lower()
    free = said == UNKNOWN or said in HUB_LICENCES
    licence = [f"license: {said}"] if free else ["license: other", f"license_name: {json.dumps(entry.license)}"]
    tags = ["image-generation" if entry.task == GENERATE else "image-restoration", entry.task, entry.method]
    return "\n".join(
        [
            "library_name: restorer",
            f"pipeline_tag: {PIPELINES.get(entry.task, 'image-to-image')}",
            *licence,
            f"tags: {json.dumps(tags)}",
        ]
    )


def _facts(entry: Entry) -> list[tuple[str, str]]:
    p, own = entry.predict, entry.sample
    schedule = ", ".join(f"{key} {value}" for key, value in entry.schedule.items() if not isinstance(value, list))
    start = f", start with noise of size {own.start:g}" if own.start is not None else ""
    trained = f"; trained on {entry.size.trained} pixels" if entry.size.trained else ""
    rows = [
        ("from", entry.source),
        ("trained on", entry.data),
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


HUB_LICENCES = (
    *("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"),
    *("cc-by-nc-sa-4.0", "gpl-3.0", "agpl-3.0", "lgpl-3.0", "mpl-2.0", "openrail", "unlicense"),
)
"""Names that the Hub knows; others are told in its words for those."""
