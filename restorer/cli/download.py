"""``restorer models download`` and ``rm``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restorer.cli import options as o
from restorer.cli import output
from restorer.cli.output import Output
from restorer.entry import embedded
from restorer.errors import ModelError, UsageError

if TYPE_CHECKING:
    from restorer.hub import Address, Listing

EXAMPLES = """\
  restorer models download ddpm-celebahq-256
  restorer models download owner/repo --local-dir models/       copies to take elsewhere
  restorer models download --all --dry-run                      what the whole catalogue comes to"""

RM_EXAMPLES = """\
  restorer models rm ddpm-celebahq-256
  restorer models rm owner/repo@v1 --dry-run"""

Models = Annotated[
    list[str] | None,
    typer.Argument(metavar="MODELS...", help="Names of the catalogue, or OWNER/REPO[@REVISION].", show_default=False),
]
Some = Annotated[
    list[str], typer.Argument(metavar="MODELS...", help="Names of the catalogue, or OWNER/REPO[@REVISION].")
]
All = Annotated[bool, typer.Option("--all", help="All models of the catalogue.")]
Folder = Annotated[
    Path | None,
    typer.Option("--local-dir", metavar="DIR", help="Copy each model into a folder of its own here, too."),
]
Revision = Annotated[
    str | None, typer.Option("--revision", metavar="REVISION", help="Branch, tag or commit, as behind an @.")
]
Token = Annotated[
    str | None, typer.Option("--token", envvar="HF_TOKEN", help="Token that may read the model.", show_envvar=True)
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Show what would be fetched, and how much; keep nothing.")
]
DryRemoval = Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would be removed; touch nothing.")]


def download(
    models: Models = None,
    all: All = False,
    local_dir: Folder = None,
    revision: Revision = None,
    token: Token = None,
    dry_run: DryRun = False,
    quiet: o.Quiet = False,
) -> None:
    """Fetch models now, to work offline later; prints the paths."""
    names = list(models or [])
    if all == bool(names):
        raise UsageError("Name the models to fetch, or say --all for the whole catalogue; not both.")
    if revision is not None and (len(names) != 1 or "@" in names[0]):
        raise UsageError("--revision is for one model OWNER/REPO without an @.")

    from restorer.hub import catalog
    from restorer.hub.fetching import bill_of, bring, copy_to

    out = Output(quiet=quiet)
    for name in [*names, *(catalog() if all else ())]:
        model = name if revision is None else f"{name}@{revision}"
        if dry_run:
            owed = bill_of(model, token)
            for file, size, here in owed.files:
                output.result(f"{model}  {file}  {_megabytes(size)}{'  here already' if here else ''}")
            missing = sum(size or 0 for _, size, here in owed.files if not here)
            out.note(f"{model}: {_megabytes(missing)} to fetch, commit {owed.commit}.")
            continue
        with out.downloads():
            folder = bring(model, token)
        output.result(str(copy_to(local_dir, model, folder) if local_dir else folder))


def rm(models: Some, dry_run: DryRemoval = False, quiet: o.Quiet = False) -> None:
    """Delete models of the Hub from this machine; they can be fetched again."""
    from restorer.hub.shelf import removal, remove

    out = Output(quiet=quiet)
    places = [_place(model) for model in models]
    for model, (place, listing) in zip(models, places, strict=True):
        freed = (removal if dry_run else remove)(place, listing)
        for folder in freed.folders:
            output.result(str(folder))
        out.note(f"{model}: {_megabytes(freed.bytes)} {'would be ' if dry_run else ''}freed.")


def _place(model: str) -> tuple["Address", "Listing | None"]:
    """What of the Hub is meant. Raises for what is not of the Hub."""
    from restorer.hub import Address, address, listed

    if model in embedded():
        raise UsageError(f"{model} comes with restorer, and goes with it; only models of the Hub can be removed.")
    if Path(model).exists():
        raise UsageError(f"{model} is a folder or file of yours; delete it yourself.")
    listing, place = listed(model), address(model)
    if listing is not None:
        return (place or Address(listing.repo, listing.revision)), listing
    if place is None:
        raise ModelError(f"No model {model!r}: no name of the catalogue, and no OWNER/REPO[@REVISION].")
    return place, None


def _megabytes(size: int | None) -> str:
    return "? MB" if size is None else f"{size / 1e6:.1f} MB"
