"""An engine on a GPU: its memory, its stream, its shapes; images in, raw outputs out, timed by the GPU's own clock."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from segexport.errors import EngineUnavailable, SegexportWarning
from segexport.images import UInt8
from segexport.spec import IMAGE, Size
from segexport.tensorrt import rtx_runtime
from segexport.tensorrt.buffers import Buffer, bytes_of
from segexport.tensorrt.cudart import Cuda
from segexport.tensorrt.flavour import RTX, Flavour, logger
from segexport.tensorrt.options import Profile, Shape

if TYPE_CHECKING:
    import tensorrt as trt

LOGITS, MASK = "logits", "mask"


class MaskKernel(Protocol):
    """What makes class maps of logits on the GPU: `segexport.tensorrt.kernel.ClassMapKernel`."""

    def launch(
        self,
        logits_ptr: int,
        logits_dtype: npt.DTypeLike,
        shape: tuple[int, int, int, int],
        mask_ptr: int,
        out_size: Size,
        stream: int,
    ) -> None:
        """Start making uint8 [N, *out_size] of logits [N, classes, h, w], without waiting for it."""

    def close(self) -> None:
        """Unload it."""


MaskSize = Callable[[Size, Size], Size]
"""(image's size, logits' size) to the class map's size."""


class Execution:
    """One execution context with buffers for the largest images of its profiles, and a stream of its own.

    Launches are captured as a CUDA graph and replayed: by TensorRT for RTX itself, and for classic TensorRT here, from
    the second call in a row with the same shape on, since the first one still sets things up for it.

    Raises EngineUnavailable from every method where a call of CUDA or TensorRT fails.
    """

    device_seconds: float | None = None
    """Time of the last `execute` on the GPU, class map included and copies not."""

    def __init__(
        self,
        flavour: Flavour,
        runtime: trt.Runtime,
        engine: trt.ICudaEngine,
        cuda: Cuda,
        *,
        kernel: MaskKernel | None = None,
        mask_size: MaskSize = lambda image, logits: image,
        cache: Path | None = None,
    ) -> None:
        """Args: the engine and what it lives in; what makes class maps of its logits; RTX's runtime cache."""
        self._flavour, self._cuda = flavour, cuda
        self._kernel, self._mask_size = kernel, mask_size
        self._shape: Shape | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._profile = 0
        self._graph: Any = None
        self._captures = flavour is not RTX
        self._ran = False
        self._dtypes = _dtypes(flavour, engine)
        self._outputs = tuple(name for name in self._dtypes if name != IMAGE)
        self.profiles = _profiles(engine)
        with ExitStack() as stack:
            self._runtime, self._engine = runtime, engine
            stack.callback(self._let_go, "_engine", "_runtime")
            if kernel is not None:
                stack.callback(kernel.close)
            cuda.use()
            self._stream = cuda.stream()
            stack.callback(cuda.destroy_stream, self._stream)
            self._start, self._end = cuda.event(), cuda.event()
            stack.callback(cuda.destroy_event, self._start)
            stack.callback(cuda.destroy_event, self._end)
            self._context = self._create_context(cache, stack)
            self._allocate(stack)
            stack.callback(self._forget_graph)
            stack.callback(self._settle)
            self._stack = stack.pop_all()

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what `fetch` gives: the engine's outputs, or the class map that a kernel makes of its logits."""
        return self._outputs if self._kernel is None else (MASK,)

    def profile_for(self, shape: Shape) -> int | None:
        """Which profile serves images of (batch, height, width): of several, the narrowest."""
        fitting = [i for i, one in enumerate(self.profiles) if one.serves(shape)]
        return min(fitting, key=lambda i: int(np.prod(self.profiles[i].most)), default=None)

    def stage(self, images: UInt8) -> None:
        """Start copying uint8 [N, H, W, 3] to the GPU; a profile must serve its shape."""
        self._cuda.use()
        count, height, width = images.shape[:3]
        if (count, height, width) != self._shape:
            self._set_shape((count, height, width))
        buffer = self._buffers[IMAGE]
        np.copyto(buffer.view(images.shape, np.uint8), images)
        buffer.to_device(images.nbytes, self._stream)

    def execute(self) -> None:
        """Run the engine, and the kernel behind it; returns when both are done."""
        self._cuda.use()
        if self._captures and self._ran and self._graph is None:
            self._capture()
        self._cuda.record(self._start, self._stream)
        if self._graph is not None:
            self._cuda.launch(self._graph, self._stream)
        else:
            self._enqueue()
        self._cuda.record(self._end, self._stream)
        self._cuda.synchronize(self._stream)
        self._ran = True
        self.device_seconds = self._cuda.seconds(self._start, self._end)

    def fetch(self) -> dict[str, npt.NDArray[Any]]:
        """The outputs of the last `execute`, in the host's memory, which the next call overwrites."""
        self._cuda.use()
        for name in self.outputs:
            self._buffers[name].to_host(bytes_of(self._shapes[name], self._dtype(name)), self._stream)
        self._cuda.synchronize(self._stream)
        return {name: self._buffers[name].view(self._shapes[name], self._dtype(name)) for name in self.outputs}

    def close(self) -> None:
        """Free everything, in the reverse order of its making; once is enough."""
        self._stack.close()

    def _create_context(self, cache: Path | None, stack: ExitStack) -> trt.IExecutionContext:
        kept = None
        if self._flavour is RTX:
            context, kept = rtx_runtime.create_context(self._flavour, self._engine, cache)
        else:
            context = self._engine.create_execution_context()
        if context is None:
            raise self._failed("create_execution_context", "close what else uses the GPU, or build a smaller --profile")
        stack.callback(self._let_go, "_context")
        if kept is not None:
            stack.callback(kept.save)
        return context

    def _allocate(self, stack: ExitStack) -> None:
        """Buffers for the largest of every profile."""
        most: dict[str, int] = {}
        for profile in self.profiles:
            self._set_shape(profile.most, bind=False)
            for name, shape in self._shapes.items():
                most[name] = max(most.get(name, 0), bytes_of(shape, self._dtype(name)))
        self._buffers = {name: Buffer(self._cuda, size, stack) for name, size in most.items()}
        self._set_shape(self.profiles[0].best)

    def _set_shape(self, shape: Shape, *, bind: bool = True) -> None:
        """Tell the context the images' shape; find the outputs'."""
        index = self.profile_for(shape)
        assert index is not None, f"no profile serves {shape}"
        self._forget_graph()
        self._shape, self._ran = None, False
        if index != self._profile:
            self._require(self._context.set_optimization_profile_async(index, int(self._stream)), "the profile")
            self._cuda.synchronize(self._stream)
            self._profile = index
        self._require(self._context.set_input_shape(IMAGE, (*shape, 3)), "set_input_shape")
        self._require(not self._context.infer_shapes(), "infer_shapes")
        self._shapes = {name: tuple(self._context.get_tensor_shape(name)) for name in self._dtypes}
        if self._kernel is not None:
            count, _, height, width = self._shapes[LOGITS]
            self._shapes[MASK] = (count, *self._mask_size(shape[1:], (height, width)))
        if bind:
            for name in self._dtypes:
                address = self._buffers[name].device
                self._require(self._context.set_tensor_address(name, address), "set_tensor_address")
            self._shape = shape

    def _enqueue(self) -> None:
        handle = int(self._stream)
        self._require(self._context.execute_async_v3(handle), "execute_async_v3")
        if self._kernel is not None:
            count, classes, height, width = self._shapes[LOGITS]
            self._kernel.launch(
                self._buffers[LOGITS].device,
                self._dtypes[LOGITS],
                (count, classes, height, width),
                self._buffers[MASK].device,
                (self._shapes[MASK][1], self._shapes[MASK][2]),
                handle,
            )

    def _capture(self) -> None:
        """Note the launches of a call as a graph. What cannot be captured goes on being launched one by one."""
        self._cuda.begin_capture(self._stream)
        try:
            self._enqueue()
        except EngineUnavailable as error:
            self._cuda.abandon_capture(self._stream)
            self._captures = False
            warnings.warn(f"no CUDA graph for this engine, whose calls take longer: {error}", SegexportWarning, 2)
            return
        self._graph = self._cuda.end_capture(self._stream)

    def _forget_graph(self) -> None:
        graph, self._graph = self._graph, None
        if graph is not None:
            self._cuda.destroy_graph(graph)

    def _settle(self) -> None:
        """Wait before anything is freed; what the wait would report has been reported."""
        with contextlib.suppress(EngineUnavailable):
            self._cuda.use()
            self._cuda.synchronize(self._stream)

    def _let_go(self, *names: str) -> None:
        """Free TensorRT's own objects in this order, by dropping the references to them."""
        for name in names:
            vars(self).pop(name, None)

    def _dtype(self, name: str) -> np.dtype[Any]:
        return np.dtype(np.uint8) if name == MASK and self._kernel is not None else self._dtypes[name]

    def _require(self, done: bool, call: str) -> None:
        if not done:
            raise self._failed(call, "please report this")

    def _failed(self, call: str, remedy: str) -> EngineUnavailable:
        said = logger(self._flavour)[1].drain()
        reason = " ".join(said[0].split())[:400] if said else "it gives no reason"
        return EngineUnavailable(f"{self._flavour.title}: {call} failed ({reason}): {remedy}")


def _profiles(engine: trt.ICudaEngine) -> tuple[Profile, ...]:
    fixed = tuple(engine.get_tensor_shape(IMAGE))
    if -1 not in fixed:
        return (_profile([fixed] * 3),)
    count = engine.num_optimization_profiles
    return tuple(_profile([tuple(d) for d in engine.get_tensor_profile_shape(IMAGE, i)]) for i in range(count))


def _profile(shapes: list[tuple[int, ...]]) -> Profile:
    least, best, most = ((n, height, width) for n, height, width, _ in shapes)
    return Profile(least, best, most)


def _dtypes(flavour: Flavour, engine: trt.ICudaEngine) -> dict[str, np.dtype[Any]]:
    """NumPy's type of every input and output."""
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = flavour.bindings()
    known: dict[trt.DataType, npt.DTypeLike] = {
        trt.DataType.UINT8: np.uint8,
        trt.DataType.HALF: np.float16,
        trt.DataType.FLOAT: np.float32,
        trt.DataType.INT32: np.int32,
        trt.DataType.INT64: np.int64,
    }
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    return {name: np.dtype(known[engine.get_tensor_dtype(name)]) for name in names}
