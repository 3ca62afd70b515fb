"""``restorer models publish``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from restorer.cli import options as o
from restorer.cli import output
from restorer.cli.output import Output

EXAMPLES = """\
  restorer models publish my-derain/ you/my-derain -n              what would go up; nobody is asked
  restorer models publish my-derain/ you/my-derain --private
  restorer models publish my-derain/ their/derain --create-pr      to be taken by its owner"""

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Model folder.", show_default=False)]
Repo = Annotated[str, typer.Argument(metavar="OWNER/REPO", help="Repository on the Hub.", show_default=False)]
Private = Annotated[bool, typer.Option("--private", help="For you and those you invite only.")]
Message = Annotated[
    str | None, typer.Option("--commit-message", metavar="TEXT", help="What the commit says.", show_default=False)
]
CreatePr = Annotated[bool, typer.Option("--create-pr", help="Open a pull request instead of changing main.")]
DryRun = Annotated[bool, typer.Option("--dry-run", "-n", help="Show what would go up; ask and send nothing.")]
Token = Annotated[
    str | None,
    typer.Option(
        "--token", envvar="HF_TOKEN", help="That may write there.  [default: of hf auth login]", show_default=False
    ),
]


def publish(
    folder: Folder,
    repo: Repo,
    private: Private = False,
    commit_message: Message = None,
    create_pr: CreatePr = False,
    dry_run: DryRun = False,
    token: Token = None,
    json: o.JsonOnly = False,
    quiet: o.Quiet = False,
    verbose: o.Verbose = 0,
) -> None:
    """Put a model with its card on the Hugging Face Hub, in one commit. Its card must name licence, data and score."""
    from restorer import publish as hub

    out = Output(json=json, quiet=quiet, verbose=verbose)
    offered = hub.offer(folder, repo)
    files = [{"name": file.name, "bytes": file.bytes, "sha256": file.sha256} for file in offered.files]
    total = sum(file.bytes for file in offered.files)
    told = {"v": 1, "repo": repo, "files": files, "bytes": total, "left": list(offered.left)}
    if offered.left:
        out.note(f"Stays here: {', '.join(offered.left)}.")
    if dry_run and json:
        output.json_line(told)
    elif dry_run:
        rows = [[str(value) for value in file.values()] for file in files]
        output.table(["name", "bytes", "sha256"], [*rows, ["total", str(total), ""]])
    if dry_run:
        return
    bars = sys.stderr.isatty() and not (quiet or json)
    done = hub.publish(offered, private=private, message=commit_message, create_pr=create_pr, token=token, bars=bars)
    out.note(f"Published: {done.pull_request or done.url}")
    if json:
        output.json_line(told | {"commit": done.commit, "url": done.url, "pull_request": done.pull_request})
    else:
        output.result(f"{done.repo}@{done.commit}")
