"""Our speed beside that of what one would otherwise run: the official code of the papers, and diffusers.

    python benchmarks/official.py [--rddm PATH] [--irsde PATH] [--ddnm PATH] [--diffusers] [--device cuda]
        [--dtype fp32 bf16] [--size 256] [--batch N] [--dim 64] [--rounds 9] [--calls] [--compile] [--quick]
        [--write [PAGE]]

PATH: clones of nachifur/RDDM, Algolzw/image-restoration-sde and wyhuai/DDNM with their work trees; parts that are not
named are left out. Both sides have the same random weights. First their results are compared, in fp32 without TF32,
and where the same steps do not give the same the run ends; then they take turns, A B C A B C, after --warmup, with
torch's own settings. Official code computes in fp32, as it is released; diffusers in the precisions of --dtype.

Peak memory, on CUDA alone, is of one side's weights and what its turn takes. ``--quick`` is toy sizes, to see that all
of it runs. ``--write`` puts the tables into docs/performance.md: between <!-- speed --> and <!-- /speed -->, each in
the place of the one with its heading, and nowhere else.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch

# What loads official files without all that they import is the tests'.
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from official_parts import PARTS, PROOFS
from pytest import MonkeyPatch
from speed_page import PAGE, write
from turns import Comparison, table, take

from restorer.cli import machine
from restorer.device import DTYPES, choose_device
from restorer.errors import RestorerError

TOY = {"dim": 16, "size": 32, "batch": 2, "rounds": 1, "warmup": 0}


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    tables = {}
    try:
        options.device = choose_device(options.device)
        for name, path in _wanted(options):
            torch.manual_seed(0)
            with MonkeyPatch.context() as patches:
                for comparison in islice(PARTS[name][0](path, options, patches), 1 if options.calls else None):
                    made = table(comparison, take(comparison, options.device, options.warmup))
                    heading = _heading(comparison, options)
                    print(f"\n### {heading}\n\n{made}", flush=True)
                    tables[heading] = made
        if options.write and tables:
            write(options.write, tables)
    except (RestorerError, ValueError) as error:
        raise SystemExit(str(error)) from error


def _wanted(options: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """The parts that are named; of the others it is said that they are left out."""
    for name, (_, source) in PARTS.items():
        path = getattr(options, name)
        if not path:
            what = f"--{name}" if name == "diffusers" else f"--{name} PATH, a clone of {source}"
            print(f"{name} is left out; to compare with it, add {what}.", file=sys.stderr)
        elif name == "diffusers":
            if importlib.util.find_spec(name) is None:
                raise ValueError("diffusers is not installed; leave out --diffusers, or pip install diffusers.")
            yield name, Path()
        elif not list(path.glob(PROOFS[name])):
            raise ValueError(f"{path}: no clone of {source} with a work tree: {PROOFS[name]} is missing.")
        else:
            yield name, path


def _heading(comparison: Comparison, options: argparse.Namespace) -> str:
    return f"{comparison.heading}, {machine.line(options.device)}"


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in PROOFS:
        parser.add_argument(f"--{name}", type=Path, metavar="PATH", help=f"A clone of {PARTS[name][1]}.")
    parser.add_argument("--diffusers", action="store_true", help="Compare with the installed diffusers.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", nargs="+", choices=list(DTYPES), default=["fp32", "bf16"])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, help="By default 1, for diffusers 16.")
    parser.add_argument("--dim", type=int, default=64, help="Width of the finest level, 64 in the papers.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--calls", action="store_true", help="Calls of nets only, no whole pictures.")
    parser.add_argument("--compile", action="store_true", help="Calls of nets also as --compile has them.")
    parser.add_argument("--quick", action="store_true", help="Toy sizes, instead of all these numbers.")
    parser.add_argument("--write", type=Path, nargs="?", const=PAGE, metavar="PAGE")
    options = parser.parse_args(words)
    if options.quick:
        vars(options).update(TOY)
    return options


if __name__ == "__main__":
    main()
