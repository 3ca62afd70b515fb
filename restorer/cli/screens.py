"""Help screens and usage errors in plain text: options by group, examples last.

Typer's panels need 0.1 s more to start and fold long words; groups are the ``rich_help_panel`` of each option.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from restorer.cli import errors, options, output

Command = TyperCommand | TyperGroup

SETTINGS: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


class Screen(TyperCommand):
    """A command's help."""

    def format_options(self, ctx: typer.Context, formatter: Any) -> None:
        """Arguments and options, each group under its name; those of no group come last."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            kind = "Arguments" if parameter.param_type_name == "argument" else "Options"
            record = parameter.get_help_record(ctx)
            if record:
                groups.setdefault(parameter.rich_help_panel or kind, []).append(record)
        for name in sorted(groups, key="Options".__eq__):
            with formatter.section(name):
                formatter.write_dl(groups[name])

    def format_epilog(self, ctx: typer.Context, formatter: Any) -> None:
        """The examples, line by line as they are written."""
        formatter.write(f"\nExamples:\n{self.epilog}\n")


class Made(Mapping[str, Command]):
    """Name -> command, each made of its ``table``'s maker when it is first asked for: most are for another run."""

    def __init__(self, table: Mapping[str, Callable[[str], Command]]) -> None:
        self.table = table
        self.made: dict[str, Command] = {}

    def __getitem__(self, name: str) -> Command:
        if name not in self.made:
            self.made[name] = self.table[name](name)
        return self.made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.table)

    def __len__(self) -> int:
        return len(self.table)


class Commands(TyperGroup):
    """Commands below one name: those of its class's ``table``."""

    table: ClassVar[Mapping[str, Callable[[str], Command]]] = {}
    format_epilog = Screen.format_epilog

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.commands = Made(self.table)

    def list_commands(self, ctx: typer.Context) -> list[str]:
        """The names, in the order of the table; none is made for that."""
        return [*self.commands]


class Root(Commands):
    """All commands, and the only place where their errors are caught."""

    def resolve_command(self, ctx: typer.Context, args: list[str]) -> Any:
        """A picture where a command belongs gets the command that was meant."""
        name = args[0]
        if name not in self.commands and not name.startswith("-") and _is_input(name):
            ctx.fail(f"No such command {name!r}. Did you mean: restorer restore {' '.join(args)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: typer.Context) -> Any:
        """Run the command, and turn an exception into its sentence and exit code."""
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, typer.TyperException, BrokenPipeError):
            raise
        except (Exception, KeyboardInterrupt) as error:
            answer = errors.answer(error)
            output.error(answer.sentence(error))
            if ctx.meta.get(options.VERBOSE, 0) >= 2:
                output.show_traceback(error)
            raise typer.Exit(answer.code) from error


def _is_input(word: str) -> bool:
    return os.sep in word or "/" in word or bool(Path(word).suffix) or Path(word).exists()
