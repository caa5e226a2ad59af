"""The two TensorRTs, by name: which package, which version, and the logger through which they explain themselves.

Both have the same object model and the same ONNX parser. Code that uses either names the classes `trt.X` after

    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = flavour.bindings()

so that mypy checks every use against the stubs of every version (`stubs/`, tests/tensorrt/test_conformance.py).
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from segexport.errors import EngineUnavailable

if TYPE_CHECKING:
    import tensorrt as trt

OLDEST = (10, 3)
"""The oldest classic TensorRT that is served: JetPack 6.1's."""


@dataclass(frozen=True)
class Flavour:
    """A TensorRT: `engine` is its name on the command line, `module` that of its Python package."""

    engine: str
    title: str
    module: str
    install: str
    oldest: tuple[int, int]

    def installed(self) -> bool:
        """Whether the Python package is there; whether it can be imported, `bindings` tells."""
        return importlib.util.find_spec(self.module) is not None

    def bindings(self) -> Any:
        """The imported package.

        Raises:
            EngineUnavailable: not installed, a library of it missing, or older than `oldest`.
        """
        if not self.installed():
            raise EngineUnavailable(f"{self.engine} is not installed: {self.install}")
        try:
            found: Any = importlib.import_module(self.module)
        except (ImportError, OSError) as error:  # libnvinfer, or a library that it needs
            raise EngineUnavailable(
                f"{self.title} is installed and cannot be loaded ({error}): install it again, whole: {self.install}"
            ) from error
        if release(found.__version__) < self.oldest:
            wanted = ".".join(map(str, self.oldest))
            raise EngineUnavailable(f"{self.title} {found.__version__} is too old: install {wanted} or newer")
        return found

    def version(self) -> str | None:
        """Its version, or None where it is not installed or cannot be loaded."""
        try:
            return str(self.bindings().__version__)
        except EngineUnavailable:
            return None


RTX = Flavour("tensorrt-rtx", "TensorRT for RTX", "tensorrt_rtx", 'pip install "segexport[rtx]"', (1, 7))
CLASSIC = Flavour(
    "tensorrt",
    "TensorRT",
    "tensorrt",
    'on a Jetson: sudo apt install python3-libnvinfer (JetPack 6.1 or newer); elsewhere: pip install "segexport[gpu]"',
    OLDEST,
)
FLAVOURS = {flavour.engine: flavour for flavour in (CLASSIC, RTX)}


def release(version: str) -> tuple[int, int]:
    """(major, minor) of a version such as `10.3.0`."""
    major, minor = version.split(".")[:2]
    return int(major), int(minor)


class Messages:
    """What TensorRT logged, warnings and worse, oldest first."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def drain(self) -> list[str]:
        """Take what was logged since the last time."""
        taken, self.lines = self.lines, []
        return taken


@cache
def logger(flavour: Flavour) -> tuple[trt.ILogger, Messages]:
    """The process's one logger of a flavour, since TensorRT uses only the first, and what it has collected.

    Raises:
        EngineUnavailable: see `Flavour.bindings`.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = flavour.bindings()
    messages = Messages()

    class Collector(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                messages.lines.append(msg)

    return Collector(), messages
