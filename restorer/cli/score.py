"""``restorer score``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restorer.cli import options as o
from restorer.cli import output
from restorer.cli.loading import loading
from restorer.cli.output import Output
from restorer.cli.report import Report
from restorer.errors import ImageError, InputError, UsageError, unknown

if TYPE_CHECKING:
    from torch import Tensor

    from restorer.pairs import Pair

EXAMPLES = """\
  restorer score clean/ --gt truth/                           PSNR and SSIM of each, and their means
  restorer score clean/ --gt truth/ -M psnr-y --csv table.csv
  restorer score clean/ --gt truth/ --protocol irsde-derain   as its paper measures"""

NOT_HERE = ("lpips", "niqe", "fid")
"""Metrics of the field that need nets of others, and are not built in."""

Restored = Annotated[Path, typer.Argument(metavar="RESTORED", help="File or folder.", show_default=False)]
Truth = Annotated[
    Path | None,
    typer.Option("--gt", metavar="PATH", help="Clean picture, or folder of same names. [required]", show_default=False),
]
Metrics = Annotated[
    list[str] | None,
    typer.Option(
        "--metric",
        "-M",
        metavar="NAME",
        help="psnr, ssim, psnr-y, ssim-y, ms-ssim or lab-mae; repeat.  [default: psnr, ssim, or the protocol's]",
        show_default=False,
    ),
]
ProtocolName = Annotated[
    str | None,
    typer.Option(
        "--protocol",
        metavar="NAME",
        help="Measure as a paper does: rddm-raindrop, rddm-lol, rddm-istd, irsde-derain ...; see docs/metrics.md.",
        show_default=False,
    ),
]
MaskPath = Annotated[
    Path | None,
    typer.Option("--mask", metavar="PATH", help="Mask or folder of masks, for rddm-istd.", show_default=False),
]
Crop = Annotated[int, typer.Option("--crop-border", min=0, help="Pixels ignored at each side.")]
Csv = Annotated[Path | None, typer.Option("--csv", metavar="FILE", help="Per-picture table.", show_default=False)]


def score(
    restored: Restored,
    gt: Truth = None,
    metrics: Metrics = None,
    protocol: ProtocolName = None,
    mask: MaskPath = None,
    crop: Crop = 0,
    csv: Csv = None,
    recursive: o.Recursive = False,
    max_pixels: o.MaxPixels = 250_000_000,
    json: o.Json = False,
    quiet: o.Quiet = False,
) -> None:
    """Measure restored pictures: PSNR, SSIM and more. Transparency is ignored."""
    with loading():
        from restorer import images
        from restorer.images.atomic import write_bytes
        from restorer.pairs import pairs
        from restorer.protocols import ALL, PLAIN, PROTOCOLS, measure
        from restorer.record import Record

    if gt is None:
        raise UsageError("There is no --gt, and no metric here does without; name the clean picture or its folder.")
    if protocol is not None and protocol not in PROTOCOLS:
        raise unknown("protocol", protocol, list(PROTOCOLS))
    chosen = PLAIN if protocol is None else PROTOCOLS[protocol]
    if mask is not None and not chosen.regions:
        regional = ", ".join(name for name, one in PROTOCOLS.items() if one.regions)
        raise UsageError(f"--mask is for the protocols that measure regions: {regional}; leave it out.")
    names = tuple(metrics or chosen.metrics)
    for name in names:
        if name in NOT_HERE:
            raise UsageError(f"{name} needs a net of others and is not built in; there are {', '.join(ALL)}.")
        if name not in ALL:
            raise unknown("metric", name, list(ALL))
    out = Output(json=json, quiet=quiet)
    found = pairs(gt, restored, None, recursive=recursive)
    report = Report(len(found.pairs) + len(found.problems))
    records = [Record(name, None, "failed", error=InputError(sentence)) for name, sentence in found.problems]
    for pair in found.pairs:
        try:
            made, clean = (images.read(file, max_pixels=max_pixels).pixels for file in (pair.after, pair.before))
            scores = measure(made, clean, names, chosen, crop, _marked(mask, pair, max_pixels))
            records.append(Record(str(pair.after), None, "done", scores=scores))
        except ImageError as error:
            named = str(error) if str(pair.after) in str(error) else f"{pair.after}: {error}"
            records.append(Record(str(pair.after), None, "failed", error=ImageError(named)))
    done = [record for record in records if record.status == "done"]
    for record in records:
        report.add(record)
        if record.error:
            output.error(str(record.error))
        if json:
            output.json_line(record.line())
    names = tuple(done[0].scores) if done else names
    rows = [[record.input, *(f"{record.scores[name]:.4f}" for name in names)] for record in done]
    if csv is not None:
        write_bytes(csv, _table(["picture", *names], rows))
    if not json and done:
        means = [["mean", *(f"{report.means[name]:.4f}" for name in names)]] if len(done) > 1 else []
        output.table(["picture", *names], [*rows, *means])
    out.summary(report)
    raise typer.Exit(report.exit_code)


def _marked(mask: Path | None, pair: "Pair", max_pixels: int) -> "Tensor | None":
    """(1, 1, H, W) of a pair's mask. Raises ``ImageError`` where it has none."""
    from restorer import images
    from restorer.pairs import find

    if mask is None:
        return None
    file = find(mask, pair.after, pair.inside)
    if isinstance(file, str):
        raise ImageError(file)
    return images.read(file, max_pixels=max_pixels).pixels.mean(dim=1, keepdim=True)


def _table(header: list[str], rows: list[list[str]]) -> bytes:
    import csv
    import io

    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().encode()
