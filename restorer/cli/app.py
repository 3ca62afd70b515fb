"""The contents page of the command line."""

import os
from typing import Annotated

import typer

from restorer.cli import (
    compare,
    convert,
    convert_ddim,
    degrade,
    doctor,
    download,
    generate,
    info,
    models,
    output,
    publish,
    restore,
    score,
    speed,
    tasks,
    train,
    verify,
)
from restorer.cli.screens import SETTINGS, Commands, Root, Screen


def _version(wanted: bool) -> None:
    if wanted:
        from restorer import __version__

        output.result(f"restorer {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", "-V", callback=_version, is_eager=True, help="Print the version and leave."),
]


Offline = Annotated[
    bool,
    typer.Option(
        "--offline",
        envvar="RESTORER_OFFLINE",
        help="Use only models already on this machine (sets HF_HUB_OFFLINE).",
        show_default=False,
    ),
]


def about(version: Version = False, offline: Offline = False) -> None:
    """Restore damaged pictures with diffusion models."""
    if offline:
        # Before anything imports the Hub's client, which reads it once.
        os.environ["HF_HUB_OFFLINE"] = "1"


def main() -> None:
    """The console script."""
    from restorer import heap

    heap.keep()  # before torch takes memory
    app(prog_name="restorer")


def _group(**more: object) -> typer.Typer:
    plain = {"rich_markup_mode": None, "pretty_exceptions_enable": False}
    return typer.Typer(no_args_is_help=True, context_settings=SETTINGS, **plain, **more)


EXAMPLES = """\
  restorer derain photo.jpg
  restorer derain photos/ -o clean/
  restorer models list"""

app = _group(cls=Root, callback=about, epilog=EXAMPLES)
app.command(
    "restore",
    cls=Screen,
    help="Restore pictures and folders of pictures.",
    epilog=restore.EXAMPLES.format(command="restore", participle="restored"),
)(restore.restore)
for task, alias in restore.aliases.items():
    app.command(
        task,
        cls=Screen,
        help=f"{restore.HELP[task]}: `restore --task {task}`.",
        epilog=restore.examples(task),
    )(alias)
app.command("info", cls=Screen, epilog=info.INFO_EXAMPLES)(info.info)
app.command("redo", cls=Screen, epilog=info.REDO_EXAMPLES)(info.redo)
app.command("generate", cls=Screen, epilog=generate.EXAMPLES)(generate.generate)
app.command("compare", cls=Screen, epilog=compare.EXAMPLES)(compare.compare)
app.command("score", cls=Screen, epilog=score.EXAMPLES)(score.score)
app.command("degrade", cls=Screen, epilog=degrade.EXAMPLES)(degrade.degrade)
app.command("convert-ddim", cls=Screen, epilog=convert_ddim.EXAMPLES)(convert_ddim.convert_ddim)
app.command("train", cls=Screen, epilog=train.EXAMPLES)(train.train)
app.command("tasks", cls=Screen, epilog=tasks.EXAMPLES)(tasks.tasks)
app.command("bench", cls=Screen, epilog=speed.EXAMPLES)(speed.bench)
app.command("doctor", cls=Screen, epilog=doctor.EXAMPLES)(doctor.doctor)

models_app = _group(cls=Commands, epilog=f"{models.LIST_EXAMPLES}\n{models.INFO_EXAMPLES}")
models_app.command("list", cls=Screen, epilog=models.LIST_EXAMPLES)(models.list_models)
models_app.command("info", cls=Screen, epilog=models.INFO_EXAMPLES)(models.info)
models_app.command("download", cls=Screen, epilog=download.EXAMPLES)(download.download)
models_app.command("verify", cls=Screen, epilog=verify.EXAMPLES)(verify.verify)
models_app.command("rm", cls=Screen, epilog=download.RM_EXAMPLES)(download.rm)
models_app.command("convert", cls=Screen, epilog=convert.EXAMPLES)(convert.convert)
models_app.command("publish", cls=Screen, epilog=publish.EXAMPLES)(publish.publish)
app.add_typer(models_app, name="models", help="List, inspect, fetch, check, convert and publish models.")
