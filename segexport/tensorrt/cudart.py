"""CUDA's runtime API from Python (`cuda.bindings.runtime`), with every status checked."""

from __future__ import annotations

import importlib
from typing import Any

from segexport.errors import EngineUnavailable

NON_BLOCKING = 1
"""cudaStreamNonBlocking: a stream that does not wait for the default one."""


class Cuda:
    """One GPU. Pointers are integers; streams, events and graphs are what the API hands out.

    A call that frees something reports its failure only where no earlier call has failed: after an error that breaks
    the GPU's context all of them fail, and the first is the one to know.

    Every method raises EngineUnavailable, which names the call and CUDA's reason.
    """

    def __init__(self, index: int, runtime: Any = None) -> None:
        """Args: the GPU's index; the module of the API, CUDA's own if None."""
        self._api = runtime or importlib.import_module("cuda.bindings.runtime")
        self._index = index
        self._failed = False

    def use(self) -> None:
        """Make this the calling thread's GPU."""
        self._checked("cudaSetDevice", self._api.cudaSetDevice(self._index))

    def malloc(self, size: int) -> int:
        """Bytes on the GPU."""
        return int(self._checked("cudaMalloc", self._api.cudaMalloc(size), size))

    def free(self, pointer: int) -> None:
        """Give back what `malloc` gave."""
        self._freed("cudaFree", self._api.cudaFree(pointer))

    def malloc_host(self, size: int) -> int:
        """Bytes on the host that stay where they are, so that copies need not wait."""
        return int(self._checked("cudaMallocHost", self._api.cudaMallocHost(size), size))

    def free_host(self, pointer: int) -> None:
        """Give back what `malloc_host` gave."""
        self._freed("cudaFreeHost", self._api.cudaFreeHost(pointer))

    def stream(self) -> Any:
        """A stream of its own; `int(stream)` is its handle."""
        return self._checked("cudaStreamCreateWithFlags", self._api.cudaStreamCreateWithFlags(NON_BLOCKING))

    def destroy_stream(self, stream: Any) -> None:
        """End a stream."""
        self._freed("cudaStreamDestroy", self._api.cudaStreamDestroy(stream))

    def synchronize(self, stream: Any) -> None:
        """Wait until all work of a stream is done; what went wrong in it is raised here."""
        self._checked("cudaStreamSynchronize", self._api.cudaStreamSynchronize(stream))

    def to_device(self, device: int, host: int, size: int, stream: Any) -> None:
        """Start a copy of bytes from pinned memory."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._checked("cudaMemcpyAsync", self._api.cudaMemcpyAsync(device, host, size, kind, stream))

    def to_host(self, host: int, device: int, size: int, stream: Any) -> None:
        """Start a copy of bytes to pinned memory."""
        kind = self._api.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._checked("cudaMemcpyAsync", self._api.cudaMemcpyAsync(host, device, size, kind, stream))

    def event(self) -> Any:
        """A mark in a stream's time."""
        return self._checked("cudaEventCreate", self._api.cudaEventCreate())

    def destroy_event(self, event: Any) -> None:
        """Forget a mark."""
        self._freed("cudaEventDestroy", self._api.cudaEventDestroy(event))

    def record(self, event: Any, stream: Any) -> None:
        """Set the mark behind what a stream has to do so far."""
        self._checked("cudaEventRecord", self._api.cudaEventRecord(event, stream))

    def seconds(self, start: Any, end: Any) -> float:
        """Time on the GPU between two marks that have passed."""
        return float(self._checked("cudaEventElapsedTime", self._api.cudaEventElapsedTime(start, end))) / 1e3

    def begin_capture(self, stream: Any) -> None:
        """From here on, note what the stream is given instead of doing it; other threads may go on allocating."""
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._checked("cudaStreamBeginCapture", self._api.cudaStreamBeginCapture(stream, mode))

    def end_capture(self, stream: Any) -> Any:
        """What was noted, ready to be launched."""
        graph = self._checked("cudaStreamEndCapture", self._api.cudaStreamEndCapture(stream))
        try:
            return self._checked("cudaGraphInstantiate", self._api.cudaGraphInstantiate(graph, 0))
        finally:
            self._freed("cudaGraphDestroy", self._api.cudaGraphDestroy(graph))

    def abandon_capture(self, stream: Any) -> None:
        """End a capture in which something failed; the stream works as before."""
        status, graph = self._api.cudaStreamEndCapture(stream)
        if status == self._api.cudaError_t.cudaSuccess:
            self._freed("cudaGraphDestroy", self._api.cudaGraphDestroy(graph))

    def launch(self, graph: Any, stream: Any) -> None:
        """Do in a stream all that was captured."""
        self._checked("cudaGraphLaunch", self._api.cudaGraphLaunch(graph, stream))

    def destroy_graph(self, graph: Any) -> None:
        """Forget what was captured."""
        self._freed("cudaGraphExecDestroy", self._api.cudaGraphExecDestroy(graph))

    def _checked(self, call: str, answer: tuple[Any, ...], size: int | None = None) -> Any:
        """The value of an answer `(status, value)`, or None of `(status,)`."""
        status, *values = answer
        if status == self._api.cudaError_t.cudaSuccess:
            return values[0] if values else None
        self._failed = True
        if size is not None and status == self._api.cudaError_t.cudaErrorMemoryAllocation:
            raise EngineUnavailable(
                f"{call} finds no {-(-size // 1024)} KiB: close what else uses the GPU's memory or the machine's, or "
                "build for a smaller --profile or --batch"
            )
        text = self._api.cudaGetErrorString(status)[1]
        said = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        raise EngineUnavailable(
            f"{call} failed on GPU {self._index} ({status.name}: {said}): see whether nvidia-smi shows it well, and "
            "open the bundle again"
        )

    def _freed(self, call: str, answer: tuple[Any, ...]) -> None:
        if not self._failed:
            self._checked(call, answer)
