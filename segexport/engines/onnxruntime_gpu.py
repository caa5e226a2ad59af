"""ONNX Runtime's CUDA, TensorRT and TensorRT for RTX providers, each an engine, each on the GPU or not at all.

They run a bundle's portable graph. Left alone, ONNX Runtime computes on the CPU what its provider cannot, and all of
it where the provider cannot be loaded, with no more than a warning; here both are errors.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import io
import os
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from segexport.bundle import Bundle
from segexport.engines.base import EngineInfo, Runner
from segexport.engines.onnxruntime import OnnxRuntimeRunner
from segexport.errors import EngineUnavailable
from segexport.spec import Precision
from segexport.tensorrt import device as devices
from segexport.tensorrt.device import Gpu, gpu_named, gpus

_STRICT = ("session.disable_cpu_ep_fallback", "1")
_PLUGIN = "onnxruntime_ep_nv_tensorrt_rtx"
_ONNXRUNTIME_GPU = 'pip uninstall -y onnxruntime && pip install "onnxruntime-gpu[cuda,cudnn]"'
"""Not beside `onnxruntime`: both are the same Python module."""


@dataclass(frozen=True)
class GpuProvider:
    """An execution provider as an engine, with the surface of an engine's module: `info` and `open_bundle`.

    `packages` are the distributions that may bring it, `library` is its file beside ONNX Runtime's own, or empty for
    a plugin in a package of its own.
    """

    name: str
    provider: str
    packages: tuple[str, ...]
    library: str
    install: str
    precisions: tuple[Precision, ...]

    def info(self) -> EngineInfo:
        """Version and GPUs, whether or not the package or a GPU is there."""
        version = next((found for found in map(_version, self.packages) if found), None)
        missing = f"{self.name} is not installed: {self.install}" if version is None else devices.why_none()
        found = () if missing else tuple(gpu.device for gpu in gpus())
        return EngineInfo(
            self.name, version, found, self.install, builds=True, precisions=self.precisions, missing=missing
        )

    def open_bundle(self, bundle: Bundle, *, threads: int | None, device: str | None) -> Runner:
        """A session on a GPU; it has no use for `threads`.

        Raises:
            EngineUnavailable: the package, the driver, a library or the GPU is missing, or the provider leaves a part
                of the graph to the CPU.
        """
        gpu = gpu_named(device, self.name)
        options = _options(self, bundle.manifest.precision, _cache(bundle))
        return OnnxRuntimeRunner(self.session(bundle.model, gpu, options), bundle.manifest.contract, False, None)

    def session(self, path: Path, gpu: Gpu, options: dict[str, str]) -> Any:
        """An inference session of this provider, which computes all of the graph.

        Raises:
            EngineUnavailable: as for `open_bundle`.
        """
        try:
            import onnxruntime as ort
        except ImportError as error:
            raise EngineUnavailable(f"{self.name} cannot be loaded ({error}): {self.install}") from error
        settings = ort.SessionOptions()
        settings.log_severity_level = 4  # only what ends the process: the rest is said by the errors below
        settings.add_session_config_entry(*_STRICT)
        ort.set_default_logger_severity(4)
        try:
            if self.library:
                session = self._built_in(ort, path, settings, {"device_id": str(gpu.index), **options})
            else:
                session = self._plugged_in(ort, path, settings, gpu, options)
        except EngineUnavailable:
            raise
        except Exception as error:  # ONNX Runtime's errors have no base of their own
            raise EngineUnavailable(self._refusal(ort, " ".join(str(error).split()))) from error
        finally:
            ort.set_default_logger_severity(2)  # its own default
        if session.get_providers()[0] != self.provider:
            raise EngineUnavailable(self._refusal(ort, f"it fell back to {session.get_providers()[0]}"))
        return session

    def _built_in(self, ort: Any, path: Path, settings: Any, options: dict[str, str]) -> Any:
        """A session of a provider that ONNX Runtime was built with."""
        if self.provider not in ort.get_available_providers():
            raise EngineUnavailable(
                f"{self.name}: this ONNX Runtime {ort.__version__} was built without {self.provider}: {self.install}"
            )
        with contextlib.redirect_stdout(io.StringIO()):  # of what is missing, the error says the first
            ort.preload_dlls()  # CUDA and cuDNN, where pip brought them
        return ort.InferenceSession(path, settings, providers=[(self.provider, options)], enable_fallback=0)

    def _plugged_in(self, ort: Any, path: Path, settings: Any, gpu: Gpu, options: dict[str, str]) -> Any:
        """A session of a provider that a package of its own brings."""
        try:
            plugin: Any = importlib.import_module(_PLUGIN)
        except ImportError as error:
            raise EngineUnavailable(f"{self.name} is not installed ({error}): {self.install}") from error
        if self.provider not in {found.ep_name for found in ort.get_ep_devices()}:
            ort.register_execution_provider_library(self.provider, plugin.get_library_path())
        found = [one for one in ort.get_ep_devices() if one.ep_name == self.provider]
        if gpu.index >= len(found):
            raise EngineUnavailable(
                f"{self.name} does not serve {gpu}: it computes on RTX GPUs from compute capability 8.0 on; "
                "pass --engine tensorrt or onnxruntime-cuda"
            )
        settings.add_provider_for_devices([found[gpu.index]], options)
        return ort.InferenceSession(path, settings, enable_fallback=0)

    def _refusal(self, ort: Any, reason: str) -> str:
        """What to say when there is no session of this provider: the library's own reason, if it cannot be loaded."""
        if self.library and (why := _why_not_loaded(Path(ort.__file__).parent / "capi" / self.library)):
            return f"{self.name} cannot be loaded ({why}): {self.install}"
        if "libcuda" in reason:
            return f"{self.name} cannot run here: {devices.why_none() or reason}"
        if "assigned to the default CPU EP" in reason:
            return (
                f"{self.name} would leave a part of the graph to the CPU: build with a fixed --batch, or pass another "
                "--engine"
            )
        return f"{self.name} cannot open the graph ({reason[:400]}): pass another --engine"


CUDA = GpuProvider(
    "onnxruntime-cuda",
    "CUDAExecutionProvider",
    ("onnxruntime-gpu",),
    "libonnxruntime_providers_cuda.so",
    _ONNXRUNTIME_GPU,
    ("fp32", "fp16"),
)
TENSORRT = GpuProvider(
    "onnxruntime-tensorrt",
    "TensorrtExecutionProvider",
    ("onnxruntime-gpu",),
    "libonnxruntime_providers_tensorrt.so",
    f"{_ONNXRUNTIME_GPU}, and TensorRT: pip install tensorrt",
    ("fp32", "fp16", "int8"),
)
TENSORRT_RTX = GpuProvider(
    "onnxruntime-tensorrt-rtx",
    "NvTensorRTRTXExecutionProvider",
    ("onnxruntime-ep-nv-tensorrt-rtx-cu13", "onnxruntime-ep-nv-tensorrt-rtx-cu12"),
    "",
    'pip install "onnxruntime>=1.24" onnxruntime-ep-nv-tensorrt-rtx',
    ("fp32", "fp16", "int8"),
)


def _options(engine: GpuProvider, precision: Precision, cache: str | None) -> dict[str, str]:
    """A provider's options for a precision, with what it builds kept in `cache`.

    Sources: ONNX Runtime's pages on the CUDA and TensorRT providers, and that of the TensorRT RTX plugin.
    """
    if engine is CUDA:
        return {"use_tf32": "0"}  # FP32 means FP32
    if precision == "fp32":
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # likewise: these providers have no option for it
    if engine is TENSORRT_RTX:
        return {} if cache is None else {"nv_runtime_cache_path": cache}
    found = {"trt_fp16_enable": str(int(precision != "fp32")), "trt_int8_enable": str(int(precision == "int8"))}
    if cache is not None:
        found |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": cache}
        found |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": cache}
    return found


def _cache(bundle: Bundle) -> str | None:
    """Where a provider may keep what it builds, if that can be written."""
    try:
        bundle.cache.mkdir(exist_ok=True)
    except OSError:
        return None
    return str(bundle.cache) if os.access(bundle.cache, os.W_OK) else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _why_not_loaded(library: Path) -> str:
    """The library that a provider's own lacks, as the system says it; empty where it can be loaded."""
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return str(error)
    return ""
