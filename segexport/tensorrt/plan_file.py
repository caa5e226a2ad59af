"""The file around a plan's programs: size, version, sections, profiles, and where the texts are.

NVIDIA documents none of this. It was read off plans that TensorRT for RTX 1.7.1.116 wrote:

    0   magic: `vtrt` (TensorRT for RTX), `ftrt` or `ptrt` (classic TensorRT)
    16  u64: bytes of the whole file
    24  four bytes: the version, as in classic plans (https://github.com/NVIDIA/TensorRT/issues/3073)
    32  u64: a bit for each compute capability
    64  two sections of 24 bytes each: name, u64 offset, u64 bytes. ENGN is the engine, WGHT the weights

In the engine, a program is `NLYM`, a version, u64 bytes, and that many bytes of text. After it come the CUDA sources of
its generated kernels, each ending in NUL, and one further program for each of its `runtime_fusion`s. Profiles are
records behind the last program.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segexport.errors import DataError
from segexport.tensorrt.plan_report import UNKNOWN
from segexport.tensorrt.targets import CAPABILITIES

RTX = b"vtrt"
CLASSIC = (b"ftrt", b"ptrt")
_ANOTHER = "build the engine again with segexport build, or pass an engine.plan that TensorRT for RTX wrote"
_HEAD = 112
_PROGRAM = b"NLYM\xa1\xda\x1e\x00"
_MAX_DIMENSIONS = 8
_INNER_VERSION = re.compile(rb"\s*header \{\s+version = 4\b")
_ENTRY = re.compile(rb"__global__ void (\w+)\(")
_TRAITS = re.compile(rb"Kernel_traits\w*<\s*fmha::(\w+)_traits,\s*fmha::(\w+)_traits,")
"""Of fused attention's source: what multiplies queries with keys, and what scores with values."""


@dataclass(frozen=True)
class RawProgram:
    """Text of one program, and of the programs inside its `runtime_fusion`s, in their order."""

    text: str
    inner: tuple[str, ...]


@dataclass(frozen=True)
class Kernel:
    """The CUDA source of a generated kernel, behind its parameters, and fused attention's two accumulators."""

    body: str
    accumulates: tuple[str, ...] | None


@dataclass(frozen=True)
class RawPlan:
    """A plan's parts, not yet understood. `kernels` are by name; a profile has each input's three shapes, and None for
    each output."""

    size_bytes: int
    extra_bytes: int
    version: str
    targets: tuple[str, ...]
    weights_bytes: int | None
    programs: tuple[RawProgram, ...]
    kernels: dict[str, Kernel]
    profiles: tuple[tuple[tuple[tuple[int, ...], ...] | None, ...], ...]


def is_plan(path: str | Path) -> bool:
    """Whether a file begins as plans do, of whichever TensorRT.

    Raises:
        DataError: it cannot be read.
    """
    return _begin(path)[:4] in (RTX, *CLASSIC)


def classic_version(path: str | Path) -> str | None:
    """The version that wrote a plan of classic TensorRT; None for all other files.

    Raises:
        DataError: it cannot be read.
    """
    begin = _begin(path)
    return _version(begin) if begin[:4] in CLASSIC else None


def _begin(path: str | Path) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}): pass a file that is there") from error


def _version(data: bytes) -> str:
    return ".".join(map(str, data[24:28])) if len(data) >= 28 else UNKNOWN


def read_parts(path: str | Path) -> RawPlan:
    """Read a plan of TensorRT for RTX apart.

    Raises:
        DataError: no such file; no plan; one of classic TensorRT; one that is cut off.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}): pass a plan file that is there") from error
    if not data:
        raise DataError(f"{path} is empty: {_ANOTHER}")
    if data[:4] in CLASSIC:
        raise DataError(
            f"{path} is a plan of classic TensorRT (version {_version(data)}), which holds no program that can be read "
            "without a GPU: inspect it with that version's EngineInspector on the machine it was built on"
        )
    if data[:4] != RTX:
        raise DataError(f"{path} is no TensorRT plan (it begins with {data[:4]!r}): {_ANOTHER}")
    if len(data) < _HEAD:
        raise DataError(f"{path} is cut off ({len(data)} bytes, not even a plan's header): copy it again, whole")
    (size,) = struct.unpack_from("<Q", data, 16)
    if size > len(data):
        raise DataError(f"{path} is cut off ({len(data):,} bytes of {size:,}): copy it again, whole")
    sections = dict(_sections(data))
    offset, length = sections.get("ENGN", (0, len(data)))
    engine = data[offset : offset + length]
    weights = sections.get("WGHT")
    return RawPlan(
        size_bytes=len(data),
        extra_bytes=len(data) - size,
        version=_version(data),
        targets=_targets(data),
        weights_bytes=None if weights is None else weights[1],
        programs=tuple(_programs(engine)),
        kernels=_kernels(engine),
        profiles=tuple(_profiles(engine)),
    )


def _sections(data: bytes) -> Iterator[tuple[str, tuple[int, int]]]:
    for start in (64, 88):
        name, offset, length = struct.unpack_from("<4s4xQQ", data, start)
        if offset + length <= len(data):
            yield name[::-1].decode("ascii", "replace"), (offset, length)


def _targets(data: bytes) -> tuple[str, ...]:
    (bits,) = struct.unpack_from("<Q", data, 32)
    return tuple(name for bit, name in enumerate(CAPABILITIES) if bits >> bit & 1)


def _programs(engine: bytes) -> Iterator[RawProgram]:
    outer: str | None = None
    inner: list[str] = []
    for match in re.finditer(re.escape(_PROGRAM), engine):
        start = match.end() + 8
        (length,) = struct.unpack_from("<Q", engine, match.end()) if start <= len(engine) else (0,)
        if not 0 < length <= len(engine) - start:
            continue
        text = engine[start : start + length]
        if _INNER_VERSION.match(text):
            inner.append(text.decode("utf-8", "replace"))
            continue
        if outer is not None:
            yield RawProgram(outer, tuple(inner))
        outer, inner = text.decode("utf-8", "replace"), []
    if outer is not None:
        yield RawProgram(outer, tuple(inner))


def _kernels(engine: bytes) -> dict[str, Kernel]:
    found: dict[str, Kernel] = {}
    for match in _ENTRY.finditer(engine):
        name = match[1].decode()
        start, end = engine.rfind(b"\0", 0, match.start()) + 1, engine.find(b"\0", match.end())
        body = engine[match.end() : end if end >= 0 else None].decode("utf-8", "replace")
        traits = _TRAITS.findall(engine, start, match.start())
        accumulates = tuple(_accumulator(one.decode()) for one in traits[-1]) if traits else None
        found.setdefault(name, Kernel(body.partition("{")[2], accumulates))
    return found


def _accumulator(traits: str) -> str:
    """`Ampere_hmma_fp32` multiplies FP16 and sums in FP32; where the last word is no such type, the whole name."""
    last = traits.rpartition("_")[2]
    return last if last in ("fp32", "fp16", "int32") else traits


def _profiles(engine: bytes) -> Iterator[tuple[tuple[tuple[int, ...], ...] | None, ...]]:
    """For each profile its bindings, inputs first: least, best and largest shape, or None for an output."""
    for match in re.finditer(
        rb"\x01\x80\x37\x80\x01\x00(.)\x00{7}(?=\x01\x80\x59\x80\x01\x00\x03\x00{7})", engine, re.S
    ):
        reader = _Reader(engine, match.end())
        bindings = [reader.three_shapes() for _ in range(match[1][0])]
        if reader.good:
            yield tuple(bindings)


class _Reader:
    """Takes records of shapes from `at` on; `good` turns False where something else stands there."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        self.good = True

    def three_shapes(self) -> tuple[tuple[int, ...], ...] | None:
        self._expect(b"\x01\x80\x59\x80\x01\x00\x03" + bytes(7))
        shapes = [self._shape() for _ in range(3)]
        self._expect(b"\xc8\x7f")
        return tuple(shape for shape in shapes if shape is not None) if None not in shapes else None

    def _shape(self) -> tuple[int, ...] | None:
        self._expect(b"\x07\x80\x01\x00")
        rank = self._number("<i")
        shape = None
        if rank >= 0:
            self._expect(b"\x01\x80\x09\x80\x01\x00")
            if rank > _MAX_DIMENSIONS or self._number("<Q") != rank:
                self.good = False
                return None
            shape = tuple(self._number("<q") for _ in range(rank))
        self._expect(b"\xa6\x7f")
        return shape

    def _expect(self, tag: bytes) -> None:
        self.good &= self._data[self._at : self._at + len(tag)] == tag
        self._at += len(tag)

    def _number(self, form: str) -> int:
        size = struct.calcsize(form)
        if not self.good or self._at + size > len(self._data):
            self.good = False
            return -1
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += size
        return int(value)
