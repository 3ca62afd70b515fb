"""What `restorer derain` spends on one small picture besides importing torch and running the net.

    python benchmarks/startup.py [--device cuda] [--dtype bf16] [-m MODEL] [--rounds 5] [--quick] [--write [PAGE]]

Four processes take turns, after a round that warms up: the command as a user runs it; `import torch` and nothing else,
with python's search for garbage put off as the command does; the command once more with a watch on its net, see
net_seconds.py; and with python's list of import times. The rest is the first without the next two. The start and the
end of python are in the whole command and in `import torch`, so they are not in the rest; a GPU's start is, since
`import torch` does not begin it. The net's first call after it is loaded counts as the net's. What python compiles of
restorer is compiled before, as it is where restorer was installed.

Imports are added up by package, each module without those it imports. What `import torch` loads too is torch's, and
so is all of torch that is loaded later; python tells of each import and is slower by that.

``--quick`` is a smaller picture and one round. ``--write`` puts the tables into docs/performance.md.
"""

from __future__ import annotations

import argparse
import compileall
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from drawn import drawn
from speed_page import PAGE, markdown, told

import restorer
from restorer import images
from restorer.cli import machine
from restorer.device import choose_device, choose_dtype, dtype_name
from restorer.errors import RestorerError

TORCH = ("-c", "import torch")
"""Whose modules are torch's."""
LOADING = ("-c", "from restorer.cli.loading import loading\nwith loading():\n    import torch")
"""Whose seconds are torch's."""
IMPORTS = ("-X", "importtime")
WATCHED = str(Path(__file__).with_name("net_seconds.py"))
DEAREST = 5
SIDE = 256
TOY = {"side": 32, "rounds": 1, "warmup": 0}


def main(words: Sequence[str] | None = None) -> None:
    options = _options(words)
    compileall.compile_dir(Path(restorer.__file__).parent, quiet=2)
    try:
        device = choose_device(options.device)
        dtype = dtype_name(choose_dtype(options.dtype, device))
        with TemporaryDirectory() as folder:
            picture = Path(folder, "picture.png")
            images.write(images.Picture(drawn(options.side, options.side)), picture)
            command = ["derain", str(picture), "-o", str(picture.with_name("made.png")), "--overwrite", "--quiet"]
            command += ["-m", options.model, "--device", str(device), "--dtype", dtype]
            seconds, imports = measured(command, options.rounds, options.warmup)
        name = Path(options.model).name
        run = f"one picture of {options.side} x {options.side}, {name}, {dtype}, {machine.line(device)}"
        told(f"`restorer derain` in a fresh process, {run}", parts(*seconds), options.write)
        told(f"Imports of `restorer derain` besides torch's, {run}", dearest(imports), options.write)
    except RestorerError as error:
        raise SystemExit(str(error)) from error


def measured(command: Sequence[str], rounds: int, warmup: int) -> tuple[list[float], dict[str, float]]:
    """Medians: of seconds (of the whole command, of `import torch`, of the net), and of seconds for each package."""
    seconds: list[list[float]] = []
    imports: list[Counter[str]] = []
    for _ in range(warmup + rounds):
        whole, _ = run("-m", "restorer", *command)
        torch, _ = run(*LOADING)
        _, watched = run(WATCHED, *command)
        seconds.append([whole, torch, float(watched.stdout.splitlines()[-1])])
        told, known = (run(*IMPORTS, *words)[1].stderr for words in (("-m", "restorer", *command), TORCH))
        imports.append(packages(modules(told), modules(known)))
    names = set().union(*imports[warmup:])
    each = {name: median(one[name] for one in imports[warmup:]) for name in names}
    return [median(column) for column in zip(*seconds[warmup:], strict=True)], each


def run(*words: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    """(seconds, what was told) of a python of its own. Ends this one where that one fails."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(f"python {' '.join(words)} ended with {done.returncode}:\n{done.stderr}")
    return seconds, done


def parts(whole: float, torch: float, net: float) -> str:
    """The table of what the whole is made of."""
    seconds = {"the whole command": whole, "python and `import torch`": torch, "the net": net}
    seconds["the rest"] = rest(whole, torch, net)
    return markdown(
        {
            "": list(seconds),
            "median, s": [f"{one:.3f}" for one in seconds.values()],
            "part of the whole": [f"{100 * one / whole:.0f} %" for one in seconds.values()],
        }
    )


def rest(whole: float, torch: float, net: float) -> float:
    """Seconds that are neither torch's nor the net's."""
    return whole - torch - net


def modules(told: str) -> dict[str, float]:
    """Module -> seconds of itself alone, of what python tells with -X importtime."""
    found: Counter[str] = Counter()
    for match in re.finditer(r"^import time: +(\d+) \| +\d+ \| +([\w.]+)$", told, re.MULTILINE):
        found[match[2]] += int(match[1]) / 1e6
    return dict(found)


def packages(loaded: Mapping[str, float], by_torch: Mapping[str, float]) -> Counter[str]:
    """Package -> seconds, of the modules that torch does not load by itself and that are not torch's own."""
    found: Counter[str] = Counter()
    for module, seconds in loaded.items():
        package = module.partition(".")[0]
        if module not in by_torch and package != "torch":
            found[package] += seconds
    return found


def dearest(imports: Mapping[str, float]) -> str:
    """The table of the packages that take longest, and of all together."""
    most = sorted(imports, key=imports.__getitem__, reverse=True)[:DEAREST]
    rows = {**{name: imports[name] for name in most}, "all that is not torch's": sum(imports.values())}
    return markdown({"package": list(rows), "median, ms": [f"{1e3 * one:.0f}" for one in rows.values()]})


def _options(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("-m", "--model", default="rddm-derain-tiny")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="A smaller picture, and one round.")
    parser.add_argument("--write", type=Path, nargs="?", const=PAGE, metavar="PAGE")
    options = parser.parse_args(words)
    options.side, options.warmup = SIDE, 1
    if options.quick:
        vars(options).update(TOY)
    return options


if __name__ == "__main__":
    main()
