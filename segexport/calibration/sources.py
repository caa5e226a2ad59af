"""Where ranges come from: a table, a bundle that has one, images, or, for FP16 alone, scenes drawn for it."""

from __future__ import annotations

from pathlib import Path

from segexport import scenes
from segexport.bundle import CALIBRATION, MANIFEST, PLACEMENT
from segexport.calibration import Progress, calibrate_graph, peaks_of_graph
from segexport.datasets import Sample, open_data
from segexport.errors import DataError
from segexport.graph.graph import Graph
from segexport.precision.ranges import Ranges, read_ranges
from segexport.spec import Precision, Size

SCENES = 8
SCENES_SEED = 65504


class GeneratedScenes:
    """Street scenes drawn by `segexport.scenes`, a data set like any other."""

    name = "generated scenes"

    def __init__(self, size: Size) -> None:
        self._size = size

    def __len__(self) -> int:
        """Number of images."""
        return SCENES

    def sample(self, index: int) -> Sample:
        """Draw one scene."""
        image, mask = scenes.scene(SCENES_SEED + index, self._size)
        return Sample(f"scene {SCENES_SEED + index}", image, mask)

    def sha256(self) -> str:
        """The seed tells them apart from all others."""
        return f"generated scenes {SCENES_SEED}"


def ranges_for(
    graph: Graph,
    precision: Precision,
    source: str | Path | Ranges | None,
    *,
    samples: int | None = None,
    seed: int = 0,
    progress: Progress = lambda step: None,
) -> Ranges | None:
    """The ranges that a precision needs of `graph`, the portable one in FP32.

    FP16 needs to know only where numbers come near its largest: of images peaks alone are gathered, and without a
    source generated scenes tell. INT8's scales are the ranges themselves, so for it there is no substitute for the
    user's images.

    Args:
        graph: what will be lowered.
        precision: fp32 and bf16 need none.
        source: a table's file, the folder of a bundle or of a search that holds one, a folder of images (or of
            `images/`), or ranges already at hand.
        samples: images to take from a folder.
        seed: of the draw.
        progress: told what is done, as `segexport.calibration.calibrate_graph` tells it.

    Raises:
        DataError: a bundle without a table, or nothing there.
        DataError, PrecisionError: see `segexport.calibration.calibrate_graph` and `read_ranges`.
        PrecisionError: a table of peaks alone for INT8, or one of something else than `graph`.
    """
    if precision in ("fp32", "bf16"):
        return None
    if isinstance(source, Ranges):
        return _checked(source, graph, precision, "the calibration table")
    if source is None:
        if precision != "fp16":
            return None
        drawn = GeneratedScenes(graph.contract.image_size)
        return peaks_of_graph(graph, drawn, seed=seed, progress=progress)
    path = _table_of(Path(source))
    if path.is_file():
        return _checked(read_ranges(path), graph, precision, str(path))
    if not path.exists():
        raise DataError(f"{path} does not exist: pass --calibration with a folder of images or a table")
    images = open_data(path, graph.labels, need_masks=False)
    gather = peaks_of_graph if precision == "fp16" else calibrate_graph
    return gather(graph, images, samples=samples, seed=seed, progress=progress)


def _table_of(path: Path) -> Path:
    """The table in the folder of a bundle or of a search; what else is named as it is.

    Raises:
        DataError: a bundle that has none.
    """
    if not any((path / marker).is_file() for marker in (MANIFEST, PLACEMENT)):
        return path
    if not (path / CALIBRATION).is_file():
        raise DataError(
            f"{path} is a bundle without {CALIBRATION}, as it needed no ranges: pass --calibration with a folder of "
            "images, or with a bundle in int8"
        )
    return path / CALIBRATION


def _checked(ranges: Ranges, graph: Graph, precision: Precision, where: str) -> Ranges:
    ranges.require_for(graph, where)
    if precision == "int8":
        ranges.require_layers(where)
    return ranges
