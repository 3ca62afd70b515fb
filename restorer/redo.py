"""A picture made once more from the recipe it carries: find its input by hash, its model by hash, and run.

find_input(picture, recipe, places)   ->  the file that it was made from
job_of(picture, recipe, ...)          ->  Work, Job, Files: what ``batch.run`` needs
difference(old, new)                  ->  the most levels by which two files differ
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restorer import images
from restorer.entry import GENERATE, TASKS, enlargement, hash_file
from restorer.errors import ImageError, InputError, ModelError, UsageError
from restorer.images import format_of
from restorer.plan import QUALITY, Files, Job
from restorer.restore import Restorer
from restorer.settings import Settings
from restorer.tiling import Tiling
from restorer.work import Work, degrading, restoring
from restorer.zeroshot import ZeroShot

PARTICIPLES = ("restored", "degraded", *TASKS.values())
ZERO_SHOT = ("operator", "method", "sigma", "travel_length", "travel_repeat", "windows", "tile", "overlap", "simulate")
"""The keys of a recipe that are fields of ``ZeroShot``."""


def recipe_of(picture: Path) -> dict[str, Any]:
    """The recipe in a picture. Raises ``InputError`` where there is none, and ``ImageError`` for one of no use here."""
    if not picture.exists():
        raise InputError(f"{picture} does not exist; check the path.")
    recipe = images.read_recipe(picture)
    if recipe is None:
        raise InputError(f"{picture} holds no recipe of restorer, so how it was made is unknown.")
    if "of" in recipe:
        raise ImageError(
            f"{picture} is the {recipe['of']} of {recipe.get('samples')} samples; make those again, with --samples."
        )
    if recipe.get("task") == GENERATE or "input" not in recipe:
        raise ImageError(
            f"{picture} was drawn, not restored; draw it again: restorer generate -m {recipe.get('model')} --seed "
            f"{recipe.get('seed')} --steps {recipe.get('steps')}."
        )
    return recipe


def find_input(picture: Path, recipe: Mapping[str, Any], places: Sequence[Path]) -> Path:
    """The file whose sha256 the recipe names: in ``places``, files or folders, or where such files use to be.

    Raises ``InputError`` when it is in none of them.
    """
    seen: set[Path] = set()
    for place in places or _usual_places(picture):
        files = sorted(place.rglob("*")) if place.is_dir() and places else _near(place, picture)
        for file in files:
            if file in seen or not (file.is_file() and format_of(file)):
                continue
            seen.add(file)
            if hash_file(file) == recipe["input"]:
                return file
    where = ", ".join(map(str, places)) or "beside it"
    raise InputError(
        f"{picture}: the picture that it was made from (sha256 {recipe['input'][:12]}...) is not {where}; name it, or "
        "its folder: --input PATH."
    )


def _usual_places(picture: Path) -> Iterator[Path]:
    """Its own folder; and photos/sub for photos_restored/sub/a.png."""
    folder = picture.absolute().parent
    yield folder
    for above in (folder, *folder.parents):
        root, _, participle = above.name.rpartition("_")
        if root and participle in PARTICIPLES:
            yield above.with_name(root) / folder.relative_to(above)


def _near(place: Path, picture: Path) -> list[Path]:
    """The files of a folder, those first whose name the picture's begins with; a file itself."""
    if not place.is_dir():
        return [place]
    return sorted(place.iterdir(), key=lambda file: (not picture.stem.startswith(file.stem), file.name))


@dataclass
class Redoing:
    """What makes pictures again; it keeps the models that it has loaded."""

    model: str | None = None
    mask: Path | None = None
    device: str = "auto"
    loaded: dict[tuple[Any, ...], Restorer] = field(default_factory=dict)

    def work(self, picture: Path, recipe: Mapping[str, Any]) -> Work:
        """Raises ``ModelError`` for a model that is not the same, and ``UsageError`` for what is missing."""
        if ("mask" in recipe) != (self.mask is not None):
            raise UsageError(
                f"{picture} was made {'with a mask; name it: --mask PATH' if 'mask' in recipe else 'without a mask'}."
            )
        if "degrade" in recipe:
            return degrading(recipe["degrade"], recipe.get("strength"), recipe["seed"])
        restorer = self._restorer(picture, recipe)
        zero = None
        if "operator" in recipe:
            zero = ZeroShot(**{key: recipe[key] for key in ZERO_SHOT if key in recipe} | _kernel(picture, recipe))
        return restoring(restorer, _settings(recipe, zero), masked=self.mask is not None, zero=zero)

    def _restorer(self, picture: Path, recipe: Mapping[str, Any]) -> Restorer:
        repo = f"{recipe['repo']}@{recipe['revision']}" if "repo" in recipe else None
        own = {
            "task": recipe["task"],
            "scale": enlargement(recipe.get("prepare")),
            "dtype": recipe.get("dtype", "auto"),
            "compile": recipe.get("compiled", False),
        }
        key = self.model or repo or recipe["model"], *own.values()
        if key not in self.loaded:
            self.loaded[key] = Restorer.from_pretrained(key[0], device=self.device, **own)
        restorer = self.loaded[key]
        if restorer.found.sha256 != recipe["weights"]:
            raise ModelError(
                f"{picture}: made with weights of sha256 {recipe['weights'][:12]}..., but those of {key[0]} are "
                f"{restorer.found.sha256[:12]}...; name the right model with --model."
            )
        return restorer


def _settings(recipe: Mapping[str, Any], zero: ZeroShot | None) -> Settings:
    sigma = recipe.get("sigma")
    return Settings(
        recipe["steps"],
        recipe["eta"],
        recipe["seed"],
        recipe.get("times"),
        None if zero or sigma == "guessed" else sigma,
        _sampler(recipe, zero),
        recipe.get("alpha_schedule"),
        recipe.get("beta_schedule"),
        label=recipe.get("class"),
        tiling=Tiling() if zero else Tiling(recipe.get("tile", 0), recipe.get("overlap")),
    )


def _sampler(recipe: Mapping[str, Any], zero: ZeroShot | None) -> str | None:
    """The method's name stands where no sampler was chosen."""
    return None if zero and recipe["sampler"] == zero.method else recipe["sampler"]


def _kernel(picture: Path, recipe: Mapping[str, Any]) -> dict[str, str]:
    """The operator with the kernel's file where that is: beside the picture, or here."""
    if "kernel" not in recipe:
        return {}
    for folder in (picture.parent, Path()):
        for file in sorted(folder.iterdir()):
            if file.name in recipe["operator"] and file.is_file() and hash_file(file) == recipe["kernel"]:
                return {"operator": recipe["operator"].replace(file.name, str(file))}
    raise UsageError(f"{picture}: the kernel of {recipe['operator']!r} is neither beside it nor here; copy it there.")


def files_of(picture: Path, recipe: Mapping[str, Any], *, mask: Path | None, overwrite: bool) -> Files:
    """How the picture was written, to write it so again."""
    return Files(
        exists="overwrite" if overwrite else "skip",
        quality=recipe.get("quality", QUALITY),
        bits=recipe.get("bits", "auto"),
        metadata=recipe.get("metadata") != "strip",
        record="embed",
        mask=mask,
    )


def job_of(picture: Path, source: Path, output: Path | None) -> Job:
    """``output``: a folder, a file, or None for photo_restored_redone.jpg beside photo_restored.jpg."""
    target = output or picture.with_name(f"{picture.stem}_redone{picture.suffix}")
    target = target / picture.name if target.is_dir() else target
    if target.exists() and target.samefile(picture):
        raise UsageError(f"{picture} would be written onto itself; choose another --output.")
    return Job(source, target, exact=True, inside=Path(source.name))


def difference(old: Path, new: Path) -> float | None:
    """The most by which the pixels of two files differ, in 8-bit levels; None for different sizes."""
    pixels = [images.read(file).pixels for file in (old, new)]
    if pixels[0].shape != pixels[1].shape:
        return None
    return 255 * float((pixels[0] - pixels[1]).abs().max())
