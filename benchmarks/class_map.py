"""Upsampling and argmax in one go beside the two after each other in PyTorch, one thread each, and whether they agree.

    python benchmarks/class_map.py                                            19 classes, 270x480 to 1080x1920
    python benchmarks/class_map.py --classes 150 --grid 128x128 --size 512x512 --calls 21
    python benchmarks/class_map.py --bundle BUNDLE --images DIR               real logits too, at the bundle's own grid

PyTorch is asked in every way there is that could be fast: logits planar or channels last, the classes by argmax or by
max; it gets its logits in the layout that each wants, and so does segexport (classes innermost). The ratio is that of
the fastest of them. All are called in turn, in one process; times are medians. A pixel whose two best upsampled logits
are closer than 1e-5 of their magnitude may go either way: such pixels are counted, and any other that differs makes the
exit status 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if not __package__:  # run as a file
    sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import numpy.typing as npt
import torch

from segexport import machine, native
from segexport.bundle import open_bundle
from segexport.errors import ContractError, EngineUnavailable, SegexportError
from segexport.images import IMAGE_SUFFIXES, read_image, resize_image
from segexport.spec import IMAGE, LOGITS, Size, parse_size

Logits = npt.NDArray[np.float32]

WARMUP_CALLS = 2


def main(arguments: list[str] | None = None) -> int:
    """Measure every kind of logits and print a table; the exit status."""
    options = _options(arguments)
    torch.set_num_threads(1)
    wrong = 0
    try:
        if not native.available():
            raise EngineUnavailable(native.MISSING)
        print(f"{machine.processor()}, one thread each, torch {torch.__version__}, medians of {options.calls} calls")
        print("| logits | to | PyTorch's fastest | ms | segexport ms | ratio | differ, too close to call | wrong |")
        print("|---|---|---|--:|--:|--:|--:|--:|")
        for name, logits in _kinds(options):
            wrong += _row(name, logits, options.size, options.calls)
    except SegexportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 1 if wrong else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--classes", type=int, default=19, metavar="N", help="of the generated logits (19)")
    parser.add_argument("--grid", type=parse_size, default=(270, 480), metavar="HxW", help="and their size (270x480)")
    parser.add_argument("--size", type=parse_size, default=(1080, 1920), metavar="HxW", help="of the maps (1080x1920)")
    parser.add_argument("--calls", type=int, default=11, metavar="N", help="timed calls of each (11)")
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="a bundle whose class map is made on the host")
    parser.add_argument("--images", type=Path, metavar="DIR", help="a folder whose first image it is given")
    options = parser.parse_args(arguments)
    if (options.bundle is None) != (options.images is None):
        parser.error("--bundle and --images go together")
    return options


def _kinds(options: argparse.Namespace) -> Iterator[tuple[str, Logits]]:
    """Names and logits, [h, w, classes]."""
    generator = np.random.default_rng(0)
    noise = generator.normal(size=(*options.grid, options.classes)).astype(np.float32)
    fields = torch.from_numpy(generator.normal(size=(1, options.classes, 9, 16)).astype(np.float32))
    smooth = torch.nn.functional.interpolate(fields, size=options.grid, mode="bilinear")[0].permute(1, 2, 0).numpy()
    grid = "x".join(map(str, options.grid))
    yield f"fields with noise at their borders, {options.classes} at {grid}", smooth + np.float32(0.05) * noise
    yield f"noise, {options.classes} at {grid}", noise
    if options.bundle is not None:
        logits = _of_bundle(options.bundle, options.images)
        yield f"of {options.bundle.name}, {logits.shape[2]} at {logits.shape[0]}x{logits.shape[1]}", logits


def _of_bundle(folder: Path, images: Path) -> Logits:
    """What a bundle's network says of the first image."""
    import onnxruntime as ort

    bundle = open_bundle(folder)
    if bundle.manifest.engine.class_map != "host":
        raise ContractError(f"{folder} makes its class map elsewhere: pass a bundle built for onnxruntime or openvino")
    found = sorted(path for path in images.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        raise ContractError(f"{images} has no images: pass a folder of PNG or JPEG files")
    preprocessing = bundle.manifest.preprocessing
    image = resize_image(read_image(found[0]), bundle.manifest.contract.image_size, preprocessing.resample)
    session = ort.InferenceSession(bundle.engine_graph, providers=["CPUExecutionProvider"])
    (logits,) = session.run([LOGITS], {IMAGE: image[None]})
    return np.ascontiguousarray(logits[0], np.float32)


def _row(name: str, logits: Logits, size: Size, calls: int) -> int:
    """Print one; how many pixels are wrong."""
    peers = _pytorch(logits, size)
    contenders: dict[str, Callable[[], Any]] = {**peers, "segexport": lambda: native.class_map(logits[None], size, 1)}
    seconds: dict[str, list[float]] = {contender: [] for contender in contenders}
    with torch.inference_mode():
        for number in range(WARMUP_CALLS + calls):
            for contender, call in contenders.items():
                start = time.perf_counter()
                call()
                if number >= WARMUP_CALLS:
                    seconds[contender].append(time.perf_counter() - start)
        close, wrong = _differences(logits, size)
    medians = {contender: statistics.median(times) for contender, times in seconds.items()}
    best = min(peers, key=medians.__getitem__)
    theirs, ours = medians[best] * 1000, medians["segexport"] * 1000
    print(
        f"| {name} | {size[0]}x{size[1]} | {best} | {theirs:.1f} | {ours:.1f} | {theirs / ours:.1f} | {close} | {wrong} |",  # noqa: E501
        flush=True,
    )
    return wrong


def _pytorch(logits: Logits, size: Size) -> dict[str, Callable[[], Any]]:
    planar = torch.from_numpy(np.ascontiguousarray(logits.transpose(2, 0, 1)))[None]
    last = planar.contiguous(memory_format=torch.channels_last)

    def upsampled(values: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.interpolate(values, size=size, mode="bilinear", align_corners=False)

    return {
        "planar, argmax": lambda: upsampled(planar).argmax(1),
        "planar, max": lambda: upsampled(planar).max(1).indices,
        "channels last, argmax": lambda: upsampled(last).argmax(1),
        "channels last, max": lambda: upsampled(last).max(1).indices,
    }


def _differences(logits: Logits, size: Size) -> tuple[int, int]:
    """Pixels that differ from PyTorch's: with the best two too close to call, and the others."""
    planar = torch.from_numpy(np.ascontiguousarray(logits.transpose(2, 0, 1)))[None]
    planes = torch.nn.functional.interpolate(planar, size=size, mode="bilinear", align_corners=False)[0]
    want = planes.argmax(0)
    found = torch.from_numpy(native.class_map(logits[None], size, 1)[0].astype(np.int64))
    best, second = planes.topk(2, 0).values
    close = best - second <= 1e-5 * torch.maximum(best.abs(), second.abs())
    differs = found != want
    return int((differs & close).sum()), int((differs & ~close).sum())


if __name__ == "__main__":
    sys.exit(main())
