"""All tables of docs/performance.md, by one command.

    python benchmarks/performance.py [--data DATA] [--rddm PATH] [--irsde PATH] [--ddnm PATH] [--diffusers]
        [--device cuda] [--quick] [--page PAGE]

It runs official.py, trainer.py, cost.py, startup.py and folder.py, one after the other, each with --write. DATA:
pictures of which folder.py makes 64 of 512 x 512; PATH: clones as official.py wants them. What is not named is left
out, and said so. A part that fails ends with its sentence, and the next one begins; the exit code is 1 then.

``--quick`` is toy sizes, to see that all of it runs; nothing is written then unless --page names a page.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cost
import folder
import official
import startup
import trainer
from speed_page import PAGE

CLONES = ("rddm", "irsde", "ddnm")
FOLDER = ("--side", "512", "--pictures", "64")

Part = tuple[str, Callable[[Sequence[str]], None], list[str]]
"""The name of a script, its main, and the words that it is given."""


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    common = ["--device", options.device]
    common += ["--quick"] if options.quick else []
    common += ["--write", str(options.page)] if options.page else []
    failed = []
    for name, script, own in parts(options):
        print(f"\n{name}", file=sys.stderr, flush=True)
        try:
            script([*own, *common])
        except SystemExit as left:
            print(left, file=sys.stderr, flush=True)
            failed.append(name)
    if failed:
        raise SystemExit(f"Without a table: {', '.join(failed)}.")


def parts(options: argparse.Namespace) -> Iterator[Part]:
    """What is to be run; of the others it is said that they are left out."""
    clones = {name: getattr(options, name) for name in CLONES}
    named = [word for name, path in clones.items() if path for word in (f"--{name}", str(path))]
    # Without any it says itself what is left out.
    yield "official.py", official.main, [*named, *(["--diffusers"] if options.diffusers else [])]
    if options.rddm:
        yield "trainer.py", trainer.main, [str(options.rddm)]
    else:
        _left_out("trainer.py", "--rddm PATH, a clone of nachifur/RDDM")
    yield "cost.py", cost.main, []
    yield "startup.py", startup.main, []
    if options.data:
        yield "folder.py", folder.main, [str(options.data), *FOLDER]
    else:
        _left_out("folder.py", "--data DATA, a folder of clean pictures")


def _left_out(name: str, what: str) -> None:
    print(f"{name} is left out; to run it, add {what}.", file=sys.stderr)


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="Clean pictures, some of at least 512 x 512 pixels.")
    for name in CLONES:
        parser.add_argument(f"--{name}", type=Path, metavar="PATH", help=f"A clone of {official.PARTS[name][1]}.")
    parser.add_argument("--diffusers", action="store_true", help="Compare with the installed diffusers.")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quick", action="store_true", help="Toy sizes, to see that it runs.")
    parser.add_argument("--page", type=Path, help="Where the tables go, by default docs/performance.md.")
    options = parser.parse_args(words)
    options.page = options.page or (None if options.quick else PAGE)
    return options


if __name__ == "__main__":
    main()
