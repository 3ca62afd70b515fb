"""Who may import whom."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "restorer"
STDLIB = set(sys.stdlib_module_names)

# Files -> what they may import, besides the standard library; a name allows what is below it.
MAY_IMPORT = {
    "diffusion/*.py": {"torch", "restorer.diffusion"},
    "nets/*.py": {"torch", "restorer.nets"},
    "entry.py": {"restorer.errors"},
    "errors.py": set(),
}
LIGHT = {"typer", "restorer.cli", "restorer.entry", "restorer.errors", "restorer.__version__"}


def imports(file, *, top_only=False):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in tree.body if top_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: absolute imports only"
            whole = node.module in ("restorer", "restorer.cli")
            yield from (f"{node.module}.{alias.name}" for alias in node.names) if whole else [node.module]


def allowed(name, names):
    return name.split(".")[0] in STDLIB or any(name == known or name.startswith(f"{known}.") for known in names)


@pytest.mark.parametrize("files", MAY_IMPORT)
def test_the_inner_layers_know_nothing_of_the_outer(files):
    found = sorted(PACKAGE.glob(files))
    assert found
    for file in found:
        assert [n for n in imports(file) if not allowed(n, MAY_IMPORT[files])] == [], file


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda f: str(f.relative_to(ROOT)))
def test_every_file(file):
    names = list(imports(file))
    assert not [n for n in names if n.split(".")[0] == "click"], "Typer's click is its own; use typer's names"
    if "cli" not in file.parts and file.name != "__main__.py":
        assert not [n for n in names if n.startswith("restorer.cli")], "the library does not know its command line"


@pytest.mark.parametrize("file", sorted((PACKAGE / "cli").glob("*.py")), ids=lambda f: f.name)
def test_the_command_line_starts_light(file):
    assert [n for n in imports(file, top_only=True) if not allowed(n, LIGHT)] == []
