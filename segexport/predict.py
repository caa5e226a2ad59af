"""Class maps and overlays of image files, written as files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from segexport.errors import DataError, OutputError
from segexport.files import write_file
from segexport.segmenter import open_segmenter


def predict_files(
    bundle: Path,
    images: Sequence[Path],
    out: Path,
    *,
    threads: int | None = None,
    device: str | None = None,
    overwrite: bool = False,
) -> Iterator[Path]:
    """Write `NAME_mask.png` (palette PNG of class ids) and `NAME_overlay.png` for each image, in its own size.

    A classifier gets `NAME_classes.json` instead. Files appear whole, one after the other.

    Yields:
        Each file written.

    Raises:
        DataError: an image is missing or cannot be read, or two would write the same file.
        OutputError: a file exists and `overwrite` is off, or the disk is full.
        BundleCorrupt, EngineUnavailable: see `segexport.errors`.
    """
    _require_distinct(images)
    for path in images:
        if not path.exists():
            raise DataError(f"{path} does not exist")
        if path.is_dir():
            raise DataError(f"{path} is a folder: pass image files")
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file: pass a folder as --out")
    if not overwrite:
        _require_new(images, out)
    with open_segmenter(bundle, threads=threads, device=device) as net:
        for path in images:
            for target, data in net.run(path).files(out / path.stem):
                write_file(target, data)
                yield target


def _require_distinct(images: Sequence[Path]) -> None:
    seen: dict[str, Path] = {}
    for path in images:
        if path.stem in seen:
            raise DataError(f"{seen[path.stem]} and {path} would write the same files: predict them into two folders")
        seen[path.stem] = path


def _require_new(images: Sequence[Path], out: Path) -> None:
    for path in images:
        for suffix in ("_mask.png", "_overlay.png", "_classes.json"):
            target = out / f"{path.stem}{suffix}"
            if target.exists():
                raise OutputError(f"{target} exists: pass --overwrite to replace it, or another --out")
