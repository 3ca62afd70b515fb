"""The contents page of the command line."""

import os
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, ClassVar

import typer

from restorer.cli import output, restore
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


def about_models() -> None:
    """List, inspect, fetch, check, convert and publish models."""


def main() -> None:
    """The console script."""
    from restorer import heap

    heap.keep()  # before torch takes memory
    app(prog_name="restorer")


PLAIN = {"rich_markup_mode": None, "pretty_exceptions_enable": False}


def _command(name: str, function: Callable[..., None], **more: str) -> Screen:
    alone = typer.Typer(add_completion=False, **PLAIN)
    alone.command(name, cls=Screen, **more)(function)
    return typer.main.get_command(alone)


def _of(module: str, function: str | None = None, examples: str = "EXAMPLES") -> Callable[[str], Screen]:
    """What makes the command of a function of ``restorer.cli.MODULE``, by default that of the module's own name."""

    def made(name: str) -> Screen:
        found = import_module(f"restorer.cli.{module}")
        return _command(name, getattr(found, function or module), epilog=getattr(found, examples))

    return made


def _restore(name: str) -> Screen:
    about = "Restore pictures and folders of pictures."
    return _command(name, restore.restore, help=about, epilog=restore.examples())


def _task(name: str) -> Screen:
    about = f"{restore.HELP[name]}: `restore --task {name}`."
    return _command(name, restore.alias(name), help=about, epilog=restore.examples(name))


def _models(name: str) -> Commands:
    from restorer.cli import models

    epilog = f"{models.LIST_EXAMPLES}\n{models.INFO_EXAMPLES}"
    return typer.main.get_command(_group(cls=Models, callback=about_models, epilog=epilog, add_completion=False))


def _group(**more: object) -> typer.Typer:
    return typer.Typer(no_args_is_help=True, context_settings=SETTINGS, **PLAIN, **more)


class Contents(Root):
    """All commands by name, in the order of the first screen. Each is imported when it is asked for."""

    table: ClassVar = {
        "restore": _restore,
        **dict.fromkeys(restore.HELP, _task),
        "info": _of("info", examples="INFO_EXAMPLES"),
        "redo": _of("info", "redo", "REDO_EXAMPLES"),
        "generate": _of("generate"),
        "compare": _of("compare"),
        "score": _of("score"),
        "degrade": _of("degrade"),
        "convert-ddim": _of("convert_ddim"),
        "train": _of("train"),
        "tasks": _of("tasks"),
        "bench": _of("speed", "bench"),
        "doctor": _of("doctor"),
        "models": _models,
    }


class Models(Commands):
    """Those about models."""

    table: ClassVar = {
        "list": _of("models", "list_models", "LIST_EXAMPLES"),
        "info": _of("models", "info", "INFO_EXAMPLES"),
        "download": _of("download"),
        "verify": _of("verify"),
        "rm": _of("download", "rm", "RM_EXAMPLES"),
        "convert": _of("convert"),
        "publish": _of("publish"),
    }


EXAMPLES = """\
  restorer derain photo.jpg
  restorer derain photos/ -o clean/
  restorer models list"""

app = _group(cls=Contents, callback=about, epilog=EXAMPLES)
