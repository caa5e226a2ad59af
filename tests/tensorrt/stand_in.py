"""A GPU that is not there: CUDA's runtime and both TensorRTs in host memory, for what runs engines.

It shows what a caller does with them, not what they do. It is as strict as they are where a mistake would be seen late
on a GPU: work waits in its stream until somebody waits for the stream, what is captured is noted and not done, memory
is freed once, shapes must be within the profile, and what was made must be ended.

A plan is a line of JSON (its profiles) and an ONNX file, which ONNX Runtime runs. As a module it is TensorRT; of `Cuda`
every method takes what the function of that name in `cuda.bindings.runtime` takes, as a test compares.
"""

from __future__ import annotations

import ctypes
import enum
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import onnxruntime as ort
from cuda.bindings import runtime as real

__version__ = "1.7.1.116"

OK = real.cudaError_t.cudaSuccess


@dataclass
class Stream:
    handle: int
    queue: list[Callable[[], None]] = field(default_factory=list)
    capturing: list[Callable[[], None]] | None = None
    invalid: bool = False

    def __int__(self) -> int:
        return self.handle

    def add(self, work: Callable[[], None]) -> None:
        (self.queue if self.capturing is None else self.capturing).append(work)


class Cuda:
    """The calls, noted in `calls`; what is alive, in `alive`; the call whose turn it is in `failing` fails."""

    cudaError_t = real.cudaError_t
    cudaMemcpyKind = real.cudaMemcpyKind
    cudaStreamCaptureMode = real.cudaStreamCaptureMode
    cudaGetErrorString = staticmethod(real.cudaGetErrorString)

    streams: ClassVar[dict[int, Stream]] = {}
    _handles = itertools.count(1)

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.alive: dict[Any, Any] = {}
        self.failing: dict[str, tuple[int, real.cudaError_t]] = {}

    def _done(self, call: str, value: Any = None) -> tuple:
        self.calls.append(call)
        turn, status = self.failing.get(call, (0, OK))
        if turn == self.calls.count(call):
            return (status, None)
        return (OK,) if value is None else (OK, value() if callable(value) else value)

    def _make(self, made: Any, key: Any = None) -> Any:
        self.alive[id(made) if key is None else key] = made
        return made if key is None else key

    def _end(self, call: str, key: Any) -> tuple:
        assert self.alive.pop(key, None) is not None, f"{call} of what is not there"
        return self._done(call)

    def _bytes(self, size: int) -> int:
        memory = (ctypes.c_uint8 * size)(*itertools.repeat(0xA5, size))
        return self._make(memory, ctypes.addressof(memory))

    def cudaSetDevice(self, device):
        return self._done("cudaSetDevice")

    def cudaMalloc(self, size):
        return self._done("cudaMalloc", lambda: self._bytes(size))

    def cudaFree(self, devPtr):
        return self._end("cudaFree", devPtr)

    def cudaMallocHost(self, size):
        return self._done("cudaMallocHost", lambda: self._bytes(size))

    def cudaFreeHost(self, ptr):
        return self._end("cudaFreeHost", ptr)

    def cudaStreamCreateWithFlags(self, flags):
        def make() -> Stream:
            made = self._make(Stream(next(self._handles)))
            self.streams[int(made)] = made
            return made

        return self._done("cudaStreamCreateWithFlags", make)

    def cudaStreamDestroy(self, stream):
        return self._end("cudaStreamDestroy", id(stream))

    def cudaStreamSynchronize(self, stream):
        assert stream.capturing is None, "a stream that is being captured is waited for"
        answer = self._done("cudaStreamSynchronize")
        work, stream.queue = stream.queue, []
        for step in work:
            step()
        return answer

    def cudaMemcpyAsync(self, dst, src, count, kind, stream):
        assert isinstance(kind, real.cudaMemcpyKind)
        stream.add(lambda: ctypes.memmove(dst, src, count))
        return self._done("cudaMemcpyAsync")

    def cudaEventCreate(self):
        return self._done("cudaEventCreate", lambda: self._make([]))

    def cudaEventDestroy(self, event):
        return self._end("cudaEventDestroy", id(event))

    def cudaEventRecord(self, event, stream):
        assert stream.capturing is None
        stream.add(lambda: event.append(1))
        return self._done("cudaEventRecord")

    def cudaEventElapsedTime(self, start, end):
        assert len(start) == len(end) > 0, "the marks have not passed"
        return self._done("cudaEventElapsedTime", 1.5)

    def cudaStreamBeginCapture(self, stream, mode):
        stream.capturing, stream.invalid = [], False
        return self._done("cudaStreamBeginCapture")

    def cudaStreamEndCapture(self, stream):
        noted, stream.capturing = stream.capturing, None
        assert noted is not None
        if stream.invalid:
            return (real.cudaError_t.cudaErrorStreamCaptureInvalidated, None)
        return self._done("cudaStreamEndCapture", lambda: self._make(noted))

    def cudaGraphInstantiate(self, graph, flags):
        return self._done("cudaGraphInstantiate", lambda: self._make(list(graph)))

    def cudaGraphDestroy(self, graph):
        return self._end("cudaGraphDestroy", id(graph))

    def cudaGraphLaunch(self, graphExec, stream):
        assert id(graphExec) in self.alive
        for step in graphExec:
            stream.add(step)
        return self._done("cudaGraphLaunch")

    def cudaGraphExecDestroy(self, graphExec):
        return self._end("cudaGraphExecDestroy", id(graphExec))


def at(address: int, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """The array that stands at an address."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address)).view(dtype).reshape(shape)


class DataType(enum.Enum):
    FLOAT, HALF, INT8, INT32, BOOL, UINT8, FP8, BF16, INT64 = range(9)


class CudaGraphStrategy(enum.Enum):
    DISABLED, WHOLE_GRAPH_CAPTURE = range(2)


class DynamicShapesKernelSpecializationStrategy(enum.Enum):
    LAZY, EAGER, NONE = range(3)


class EngineValidity(enum.Enum):
    VALID, SUBOPTIMAL, INVALID = range(3)


class EngineInvalidityDiagnostics(enum.IntFlag):
    VERSION_MISMATCH, UNSUPPORTED_CC, OLD_CUDA_DRIVER, OLD_CUDA_RUNTIME = 1, 2, 4, 8
    INSUFFICIENT_GPU_MEMORY, MALFORMED_ENGINE, CUDA_ERROR = 16, 32, 64


class ILogger:
    class Severity(enum.Enum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def __init__(self) -> None: ...


_TYPES = {
    "tensor(uint8)": (DataType.UINT8, np.uint8),
    "tensor(float16)": (DataType.HALF, np.float16),
    "tensor(float)": (DataType.FLOAT, np.float32),
    "tensor(int32)": (DataType.INT32, np.int32),
    "tensor(int64)": (DataType.INT64, np.int64),
}


def plan_of(onnx: bytes, profiles: list[tuple]) -> bytes:
    """What `Runtime` takes: profiles of (least, best, most), each (batch, height, width)."""
    return json.dumps(profiles).encode() + b"\n" + onnx


class Runtime:
    engine_host_code_allowed = False

    def __init__(self, logger: ILogger) -> None:
        self.logger = logger
        self.validity: tuple[EngineValidity, int] = (EngineValidity.VALID, 0)

    def get_engine_validity(self, buffer: bytes) -> tuple[EngineValidity, int]:
        return self.validity

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        if not plan.startswith(b"["):
            self.logger.log(ILogger.Severity.ERROR, "Serialization assertion magicTag failed.")
            return None
        profiles, _, onnx = plan.partition(b"\n")
        return Engine(json.loads(profiles), onnx)


class Engine:
    streamable_weights_size = 0
    weight_streaming_budget_v2 = -1

    def __init__(self, profiles: list, onnx: bytes) -> None:
        self.session = ort.InferenceSession(onnx, providers=["CPUExecutionProvider"])
        self.tensors = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.profiles = profiles
        self.num_io_tensors = len(self.tensors)
        self.num_optimization_profiles = max(1, len(profiles))
        self.contexts: list[Context] = []
        self.config: RuntimeConfig | None = None
        self.refuse_capture = False

    def _tensor(self, name: str) -> Any:
        return next(one for one in self.tensors if one.name == name)

    def get_tensor_name(self, index: int) -> str:
        return self.tensors[index].name

    def get_tensor_dtype(self, name: str) -> DataType:
        return _TYPES[self._tensor(name).type][0]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return tuple(side if isinstance(side, int) else -1 for side in self._tensor(name).shape)

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [(*shape, 3) for shape in self.profiles[profile_index]]

    def get_weight_streaming_automatic_budget(self) -> int:
        return self.streamable_weights_size // 2

    def create_runtime_config(self) -> RuntimeConfig:
        self.config = RuntimeConfig()
        return self.config

    def create_execution_context(self, strategy: Any = None, runtime_config: Any = None) -> Context:
        assert strategy is None
        assert runtime_config is self.config
        self.contexts.append(Context(self))
        return self.contexts[-1]


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.profile = 0
        self.shape: tuple[int, ...] | None = None
        self.addresses: dict[str, int] = {}
        self.profiles_set: list[int] = []
        if -1 not in (fixed := engine.get_tensor_shape("image")):
            self.shape = fixed

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        assert not Cuda.streams[stream_handle].queue
        self.profile, self.shape, self.addresses = profile_index, None, {}
        self.profiles_set.append(profile_index)
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        assert name == "image"
        if self.engine.profiles:
            least, _, most = self.engine.get_tensor_profile_shape(name, self.profile)
            if not all(low <= side <= high for low, side, high in zip(least, shape, most, strict=True)):
                return False
        elif shape != self.engine.get_tensor_shape(name):
            return False
        self.shape = shape
        return True

    def infer_shapes(self) -> list[str]:
        return ["image"] if self.shape is None else []

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        assert self.shape is not None
        return self.shape if name == "image" else self._run(np.zeros(self.shape, np.uint8))[name].shape

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self.addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        stream = Cuda.streams[stream_handle]
        if stream.capturing is not None and self.engine.refuse_capture:
            stream.invalid = True
            return False
        shape, addresses = self.shape, dict(self.addresses)
        if shape is None or set(addresses) != {one.name for one in self.engine.tensors}:
            return False

        def work() -> None:
            found = self._run(at(addresses["image"], shape, np.uint8))
            for name, value in found.items():
                at(addresses[name], value.shape, value.dtype)[...] = value

        stream.add(work)
        return True

    def _run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        names = [one.name for one in self.engine.session.get_outputs()]
        return dict(zip(names, self.engine.session.run(names, {"image": images}), strict=True))


class RuntimeCache:
    """Takes what starts with this version; what is compiled is one more letter a time."""

    def __init__(self) -> None:
        self.content = b"1.7"

    def deserialize(self, blob: bytes) -> bool:
        if not blob.startswith(b"1.7"):
            return False
        self.content = blob
        return True

    def serialize(self) -> bytes:
        return self.content


class RuntimeConfig:
    def __init__(self) -> None:
        self.cuda_graph_strategy = CudaGraphStrategy.DISABLED
        self.dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY
        self.cache: RuntimeCache | None = None

    def create_runtime_cache(self) -> RuntimeCache:
        return RuntimeCache()

    def set_runtime_cache(self, cache: RuntimeCache) -> bool:
        self.cache = cache
        return True


class Kernel:
    """`segexport.tensorrt.kernel.ClassMapKernel` in host memory: nearest, not bilinear, which is not the point here."""

    def __init__(self) -> None:
        self.launched: list[tuple] = []
        self.closed = 0

    def launch(self, logits_ptr, logits_dtype, shape, mask_ptr, out_size, stream) -> None:
        self.launched.append((np.dtype(logits_dtype).name, shape, out_size))
        Cuda.streams[stream].add(
            lambda: at(mask_ptr, (shape[0], *out_size), np.uint8).__setitem__(
                ..., nearest(at(logits_ptr, shape, logits_dtype), out_size)
            )
        )

    def close(self) -> None:
        self.closed += 1


def nearest(logits: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """uint8 [N, *size] of [N, classes, h, w]."""
    rows, columns = (np.arange(n) * inner // n for n, inner in zip(size, logits.shape[2:], strict=True))
    return logits.argmax(1).astype(np.uint8)[:, rows][:, :, columns]
