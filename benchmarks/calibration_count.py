"""How many calibration images INT8 needs, and what the draw of them changes: the table of calibration/README.md.

python benchmarks/calibration_count.py                                       the shared CamVid checkpoint, three draws
python benchmarks/calibration_count.py --counts 1,4 --seeds 1 --limit 10 --print     a look; nothing is written

For each number of images and each seed the default INT8 is calibrated anew, as `segexport calibrate` and `build` do it,
and called on all images of --data. Nothing is timed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import numpy.typing as npt

import segexport
from benchmarks.cases import CALIBRATION, CHECKPOINT, DATA
from benchmarks.gains import between_markers
from segexport import engines, machine, native
from segexport.calibration import prepared
from segexport.datasets import LabelledImages, open_data
from segexport.engines import onnxruntime, openvino
from segexport.errors import EngineUnavailable, SegexportError
from segexport.evaluation.bootstrap import ImageCounts
from segexport.graph.graph import Graph
from segexport.images import UInt8, resize_nearest
from segexport.lowering import Recipe, complete, derive
from segexport.spec import IMAGE, LOGITS

PAGE = Path(__file__).parents[1] / "calibration" / "README.md"
BEGIN, END = "<!-- count -->", "<!-- /count -->"
COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
SEEDS = 3

Logits = npt.NDArray[np.float32]
Network = Callable[[UInt8], Logits]
"""A batch of images as the graph takes them, and its logits, channels last."""


@dataclass(frozen=True)
class Draw:
    """INT8 calibrated with so many images of one draw: its change of mIoU, a fraction, and the ratio at the logits."""

    images: int
    seed: int
    change: float
    sqnr_db: float


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status."""
    options = _options(arguments)
    try:
        table = _table(options)
    except SegexportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table)
    if not options.print:
        PAGE.write_text(between_markers(PAGE.read_text(encoding="utf-8"), table, BEGIN, END), encoding="utf-8")
        _say(f"wrote the table in {PAGE}")
    return 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT, metavar="DIR")
    parser.add_argument("--calibration", type=Path, default=CALIBRATION, metavar="DIR", help="images to draw from")
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="images and masks to score on")
    parser.add_argument("--counts", type=_numbers, default=COUNTS, metavar="A,B", help="numbers of images")
    parser.add_argument("--seeds", type=int, default=SEEDS, metavar="N", help=f"draws of each ({SEEDS})")
    parser.add_argument("--engine", choices=(openvino.NAME, onnxruntime.NAME), default=openvino.NAME)
    parser.add_argument("--limit", type=int, metavar="N", help="score on the first N images")
    parser.add_argument("--print", action="store_true", help="print the table and write nothing")
    options = parser.parse_args(arguments)
    if options.seeds < 1:
        parser.error("--seeds is 1 or more")
    return options


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


def summary(draws: Sequence[Draw]) -> Iterator[tuple[str, ...]]:
    """A row for each number of images: changes in points and ratios in dB, over its draws."""
    for images in dict.fromkeys(draw.images for draw in draws):
        found = [draw for draw in draws if draw.images == images]
        changes, ratios = [100 * draw.change for draw in found], [draw.sqnr_db for draw in found]
        figures = [f"{value:+.2f}" for value in (fmean(changes), min(changes), max(changes))]
        yield (str(images), *figures, f"{fmean(ratios):.1f}", f"{min(ratios):.1f}", f"{max(ratios):.1f}")


def render(draws: Sequence[Draw], said: str) -> str:
    """What was measured, and the table."""
    columns = ("images", "mIoU, mean change", "min", "max", "SQNR dB, mean", "min", "max")
    rows = [f"| {' | '.join(row)} |" for row in summary(draws)]
    return "\n".join([said, "", f"| {' | '.join(columns)} |", "|" + "--:|" * len(columns), *rows])


def _table(options: argparse.Namespace) -> str:
    if not native.available():
        raise EngineUnavailable(native.MISSING)
    engine = engines.require(options.engine, "int8")
    _say("exporting")
    graph = segexport.export(options.checkpoint)
    images = open_data(options.data, graph.labels, limit=options.limit)
    network = _network(graph, Recipe("fp32"), engine.name)
    wanted = [network(prepared(images.sample(index).image, graph)) for index in range(len(images))]
    fp32 = _counts(wanted, images, graph)
    draws = []
    for count in options.counts:
        for seed in range(options.seeds):
            _say(f"{count} images, seed {seed}")
            ranges = segexport.calibrate(graph, options.calibration, samples=count, seed=seed)
            network = _network(graph, complete(graph, Recipe("int8", ranges)), engine.name)
            found = [network(prepared(images.sample(index).image, graph)) for index in range(len(images))]
            change = _counts(found, images, graph).miou() - fp32.miou()
            draws.append(Draw(count, seed, change, sqnr_db(wanted, found)))
    said = (
        f"{options.checkpoint.name}, default INT8 on {engine.name} {engine.version} ({machine.processor()}), "
        f"draws of each number of images: {options.seeds}, scored on {len(images)} others. "
        f"Changes of the mIoU in points, from {fp32.miou() * 100:.2f} % in FP32."
    )
    return render(draws, said)


def _network(graph: Graph, recipe: Recipe, engine: str) -> Network:
    """What a bundle of the recipe runs on the engine, which ends at its logits."""
    derived = derive(graph, graph, engine, recipe).graph
    assert derived is not None
    with tempfile.TemporaryDirectory(prefix="segexport-count-") as folder:
        path = Path(folder) / "engine.onnx"
        derived.save(path)
        if engine == onnxruntime.NAME:
            session = onnxruntime.session(path, None)
            return lambda batch: session.run([LOGITS], {IMAGE: batch})[0]
        compiled: Any = openvino.compile_graph(path, None, precision=recipe.precision)
        return lambda batch: np.array(compiled({IMAGE: batch})[LOGITS])


def _counts(logits: Sequence[Logits], images: LabelledImages, graph: Graph) -> ImageCounts:
    counts = ImageCounts(len(graph.labels))
    size = graph.contract.mask_size
    assert size is not None
    for index, one in enumerate(logits):
        mask = images.sample(index).mask
        assert mask is not None
        found = native.class_map(one, size, machine.cores())[0]
        counts.update(mask, resize_nearest(found, (mask.shape[0], mask.shape[1])))
    return counts


def sqnr_db(wanted: Sequence[Logits], found: Sequence[Logits]) -> float:
    """Signal to quantisation noise over all images."""
    pairs = [(one.astype(np.float64), other) for one, other in zip(wanted, found, strict=True)]
    signal = sum(float(np.sum(one**2)) for one, _ in pairs)
    noise = sum(float(np.sum((other - one) ** 2)) for one, other in pairs)
    return float(10 * np.log10(signal / noise)) if noise else float("inf")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
