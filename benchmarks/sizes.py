"""The table of memory in docs/files.md: one picture of 3, 12 and 48 megapixels, each in a process of its own.

    python benchmarks/sizes.py [-m MODEL] [--megapixels N ...] [--tile SIDE] [--bits 8|16]

Pictures are drawn here: smooth, with noise. Peak memory is the resident set that the system counted for the process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from drawn import drawn, sides

from restorer import images


def draw(file: Path, megapixels: float, bits: int) -> tuple[int, int]:
    height, width = sides(megapixels)
    images.write(images.Picture(drawn(height, width), bits=bits), file, bits=bits)
    return width, height


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", default="rddm-derain-tiny")
    parser.add_argument("--megapixels", type=float, nargs="+", default=(3.0, 12.0, 48.0))
    parser.add_argument("--tile", default="auto")
    parser.add_argument("--bits", type=int, default=8)
    parser.add_argument("--steps", default="5")
    options = parser.parse_args()
    print("| picture | peak memory | time | time a megapixel |\n|---|---|---|---|")
    with TemporaryDirectory() as folder:
        for megapixels in options.megapixels:
            file = Path(folder, f"{megapixels:g}.png")
            # Drawn elsewhere, so that its memory is not counted.
            drawing = [sys.executable, __file__, "--draw", str(file), str(megapixels), str(options.bits)]
            size = subprocess.run(drawing, check=True, capture_output=True, text=True).stdout.strip()
            words = [sys.executable, "-m", "restorer", "restore", str(file), "-o", str(file.with_suffix(".out.png"))]
            words += ["-m", options.model, "--tile", options.tile, "--steps", options.steps, "-q"]
            started = time.perf_counter()
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(process.pid, 0)
            if status:
                raise SystemExit(f"restorer ended with {status}.")
            seconds = time.perf_counter() - started
            peak = f"{used.ru_maxrss / 1024**2:.2f} GiB"
            print(
                f"| {size}, {megapixels:g} MP | {peak} | {seconds:.0f} s | {seconds / megapixels:.2f} s |", flush=True
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--draw"]:
        print("{} x {}".format(*draw(Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))))
    else:
        main()
