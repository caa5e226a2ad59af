"""A bundle in a C++ program beside the same bundle in Python: the whole call, and what of it is not the engine's.

    python benchmarks/cpp_runtime.py [BUNDLE] [--calls 100] [--threads 2]

Builds the runtime as a shared library and calls it through its C interface. Each of the two is a process of its own,
and they are called in turn on the same images: of the bundle's size, and of a camera's 1080x1920. Without a bundle,
SegFormer B0 with random weights is built for OpenVINO at 512x512 with 150 labels. Printed are medians and ratios, the
share of the C++ call that lies outside the engine (pre- and post-processing, and what the call itself costs), and
whether the masks are equal.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import multiprocessing
import statistics
import subprocess
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from segexport import machine, scenes
from segexport.bench import SETTLE_SECONDS
from segexport.bundle import open_bundle

RUNTIME = Path(__file__).parents[1] / "runtime"
CAMERA = (1080, 1920)


class Image(ctypes.Structure):
    """segexport_image."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("data", ctypes.c_void_p),
        ("stride", ctypes.c_ssize_t),
        ("chroma", ctypes.c_void_p),
        ("chroma_stride", ctypes.c_ssize_t),
        *((name, ctypes.c_int32) for name in ("height", "width", "format", "memory", "yuv", "reserved")),
    ]


class Result(ctypes.Structure):
    """segexport_result."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("mask", ctypes.c_void_p),
        ("mask_stride", ctypes.c_ssize_t),
        ("confidence", ctypes.c_void_p),
        ("confidence_stride", ctypes.c_ssize_t),
        *((name, ctypes.c_int32) for name in ("height", "width", "memory", "reserved")),
    ]


class Timings(ctypes.Structure):
    """segexport_timings."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        *((name, ctypes.c_double) for name in ("preprocess_ms", "infer_ms", "postprocess_ms", "total_ms")),
    ]


class Options(ctypes.Structure):
    """segexport_options."""

    _fields_ = [
        ("struct_size", ctypes.c_size_t),
        ("device", ctypes.c_char_p),
        ("stream", ctypes.c_void_p),
        ("threads", ctypes.c_int32),
        ("own_sizes", ctypes.c_int32),
    ]


def build_library(folder: Path) -> Path:
    """libsegexport with the OpenVINO of this Python environment."""
    packages = {name: importlib.util.find_spec(name) for name in ("openvino", "nlohmann_json")}
    if missing := [name for name, found in packages.items() if found is None]:
        raise SystemExit(f"error: {', '.join(missing)} not installed: use the Python of scripts/env")
    openvino, json = (Path(str(found and found.origin)).parent for found in packages.values())
    settings = [
        "-DBUILD_SHARED_LIBS=ON",
        "-DSEGEXPORT_TESTS=OFF",
        "-DSEGEXPORT_EXAMPLES=OFF",
        f"-DOpenVINO_DIR={openvino / 'cmake'}",
        f"-DSEGEXPORT_JSON_INCLUDE={json / 'include'}",
    ]
    for command in (["cmake", "-S", str(RUNTIME), "-B", str(folder), *settings], ["cmake", "--build", str(folder)]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / "libsegexport.so"


def serve_python(connection: Connection, bundle: str, threads: int) -> None:
    """Segment what is sent; answer with milliseconds and the mask."""
    import segexport

    with segexport.open(bundle, threads=threads) as net:
        while (image := connection.recv()) is not None:
            start = time.perf_counter()
            mask = net.run(image).mask
            connection.send((1e3 * (time.perf_counter() - start), 0.0, mask))


def serve_cpp(connection: Connection, bundle: str, threads: int, library: str) -> None:
    """The same by the C interface, and the milliseconds that are not the engine's."""
    api: Any = ctypes.CDLL(library)
    api.segexport_last_error.restype = ctypes.c_char_p
    net = ctypes.c_void_p()

    def checked(status: int) -> None:
        assert status == 0, api.segexport_last_error().decode()

    options = Options(ctypes.sizeof(Options), threads=threads)
    checked(api.segexport_open(bundle.encode(), ctypes.byref(options), ctypes.byref(net)))
    timings = Timings(ctypes.sizeof(Timings))
    masks: dict[tuple[int, int], np.ndarray] = {}
    while (image := connection.recv()) is not None:
        height, width = image.shape[:2]
        mask = masks.setdefault((height, width), np.empty((height, width), np.uint8))
        given = Image(ctypes.sizeof(Image), image.ctypes.data, height=height, width=width)
        found = Result(ctypes.sizeof(Result), mask.ctypes.data, height=height, width=width)
        start = time.perf_counter()
        status = api.segexport_run(net, ctypes.byref(given), ctypes.byref(found))
        took = 1e3 * (time.perf_counter() - start)
        checked(status)
        checked(api.segexport_get_timings(net, ctypes.byref(timings)))
        connection.send((took, took - timings.infer_ms, mask))
    api.segexport_close(net)


def default_bundle(folder: Path) -> Path:
    """SegFormer B0 with random weights: latency only."""
    import segexport

    segexport.build("b0", folder, engine="openvino", size=(512, 512), random_init=True)
    return folder


def main() -> None:
    """Build, run in turn, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="?", type=Path)
    parser.add_argument("--calls", type=int, default=100)
    parser.add_argument("--threads", type=int, default=machine.cores())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        library = build_library(Path(folder) / "build")
        bundle = open_bundle(options.bundle or default_bundle(Path(folder) / "b0"))
        contract = bundle.manifest.contract
        facts = bundle.manifest
        print(f"{bundle.name}: {facts.engine.name}, {facts.precision}, {len(facts.labels)} labels")
        print(f"{machine.processor()}, {options.threads} threads, {options.calls} calls each, in turn")
        spawn = multiprocessing.get_context("spawn")
        ends = {}
        for name, target, more in (("python", serve_python, ()), ("cpp", serve_cpp, (str(library),))):
            ends[name], theirs = spawn.Pipe()
            arguments = (theirs, str(bundle.folder.resolve()), options.threads, *more)
            spawn.Process(target=target, args=arguments, daemon=True).start()
            theirs.close()
        print("| image | Python ms | C++ ms | ratio | outside the engine ms | share | masks |")
        print("|---|--:|--:|--:|--:|--:|---|")
        for size in (contract.image_size, CAMERA):
            print(row(ends, size, options.calls), flush=True)
        for end in ends.values():
            end.send(None)


def row(ends: dict[str, Any], size: tuple[int, int], calls: int) -> str:
    """One line of the table."""
    images = [scenes.scene(scenes.VALIDATION_SEED + number, size)[0] for number in range(4)]
    took: dict[str, list[float]] = {name: [] for name in ends}
    outside = []
    equal = True
    for number in range(calls + 3):
        image = np.ascontiguousarray(images[number % len(images)])
        masks = {}
        for name, end in ends.items():
            time.sleep(SETTLE_SECONDS)  # idle threads of the other spin for a while
            end.send(image)
            milliseconds, beside, masks[name] = end.recv()
            if number >= 3:  # the first ones warm up
                took[name].append(milliseconds)
                if name == "cpp":
                    outside.append(beside)
        equal = equal and np.array_equal(masks["python"], masks["cpp"])
    python, cpp, beside = (statistics.median(values) for values in (took["python"], took["cpp"], outside))
    cells = (f"{size[0]}x{size[1]}", f"{python:.2f}", f"{cpp:.2f}", f"{python / cpp:.3f}", f"{beside:.2f}")
    return f"| {' | '.join(cells)} | {beside / cpp:.1%} | {'equal' if equal else 'NOT EQUAL'} |"


if __name__ == "__main__":
    main()
