"""Plan -> engine, on the machine that it was built for; on any other, both sides and how to build it again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from segexport.bundle import Bundle, EngineFacts, PlanFacts
from segexport.errors import BundleCorrupt, EngineMismatch, EngineUnavailable, SegexportError
from segexport.tensorrt import rtx_runtime
from segexport.tensorrt.device import Gpu
from segexport.tensorrt.flavour import RTX, Flavour, logger, release

if TYPE_CHECKING:
    import tensorrt as trt

_CUT = ("header.size", "magictag", "empty memory buffer")
"""What TensorRT says of bytes that are not a whole plan."""
_TOO_LARGE = ("out of memory", "outofmemory", "memoryallocation")
"""What it, or CUDA, says of a GPU that is full."""


def require_same(bundle: Bundle, flavour: Flavour, version: str, gpu: Gpu, system: str) -> None:
    """Refuse a plan that was built for something else than what is here, before TensorRT sees it.

    Raises:
        EngineMismatch: another TensorRT, GPU or system; names both sides and the command that builds it again.
    """
    facts, plan = bundle.manifest.engine, _plan(bundle)
    sides = [
        *_other("system", plan.system, system, same=plan.system == system),
        *_other(flavour.title, facts.version, version, same=_serves(facts.version, version, plan, flavour)),
        *_other("GPU", _built_for(plan), str(gpu), same=fits(plan, gpu)),
    ]
    if sides:
        raise EngineMismatch(f"{bundle.plan} is {'; '.join(sides)}: {rebuild(bundle.folder, facts, gpu)}")


def deserialise(bundle: Bundle, flavour: Flavour, gpu: Gpu) -> tuple[trt.Runtime, trt.ICudaEngine]:
    """The bundle's engine on the calling thread's GPU, and the runtime, which must outlive it.

    Raises:
        BundleCorrupt: the file is not a whole plan.
        EngineMismatch: TensorRT does not take it; says why.
        EngineUnavailable: the GPU's memory is too small.
    """
    if TYPE_CHECKING:
        import tensorrt as trt
    else:
        trt = flavour.bindings()
    log, messages = logger(flavour)
    options = _plan(bundle).options
    data = bundle.plan.read_bytes()
    messages.drain()
    runtime = trt.Runtime(log)
    if options.get("version_compatible"):
        runtime.engine_host_code_allowed = True  # such a plan brings its own runtime; its checksum was verified
    if (dla := options.get("dla")) is not None:
        runtime.DLA_core = dla
    if flavour is RTX and (why := rtx_runtime.why_invalid(flavour, runtime, data)):
        raise _refused(bundle, gpu, [*messages.drain(), why])
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise _refused(bundle, gpu, messages.drain())
    if engine.streamable_weights_size > 0:
        engine.weight_streaming_budget_v2 = engine.get_weight_streaming_automatic_budget()
    return runtime, engine


def rebuild(folder: Path, facts: EngineFacts, gpu: Gpu) -> str:
    """The command that builds the bundle again for this machine."""
    target = f" --target {gpu.target}" if facts.plan is not None and facts.plan.targets else ""
    return f"segexport build --from-bundle {folder} --engine {facts.name}{target} --out NEW builds it for this machine"


def _refused(bundle: Bundle, gpu: Gpu, said: list[str]) -> SegexportError:
    if cut := _about(said, _CUT):
        return BundleCorrupt(f"{bundle.plan} is not a whole plan ({cut}): copy the bundle again, or build it again")
    if full := _about(said, _TOO_LARGE):
        return EngineUnavailable(
            f"{gpu} has too little memory for {bundle.plan} ({full}): close what else uses it, or build for a "
            "smaller --profile or --batch"
        )
    facts, reason = bundle.manifest.engine, _about(said, ("",)) or "it gives no reason"
    return EngineMismatch(
        f"{facts.name} does not take {bundle.plan} on {gpu} ({reason}): {rebuild(bundle.folder, facts, gpu)}"
    )


def _about(said: list[str], words: tuple[str, ...]) -> str:
    """The first message with one of the words, on one line."""
    lines = (" ".join(line.split())[:400] for line in said)
    return next((line for line in lines if any(word in line.lower() for word in words)), "")


def _plan(bundle: Bundle) -> PlanFacts:
    plan = bundle.manifest.engine.plan
    if plan is None:
        raise BundleCorrupt(f"{bundle.folder} is for {bundle.manifest.engine.name} and has no plan: build it again")
    return plan


def _other(what: str, built: str, here: str, *, same: bool) -> list[str]:
    return [] if same else [f"for {what} {built}, and here is {here}"]


def _serves(built: str, here: str, plan: PlanFacts, flavour: Flavour) -> bool:
    """A plan is for the version that built it; a version-compatible one for the same major's later ones too."""
    if flavour is RTX or not plan.options.get("version_compatible"):
        return built == here
    return release(built)[0] == release(here)[0] and release(built) <= release(here)


def _built_for(plan: PlanFacts) -> str:
    if plan.compute_capability is not None:
        return f"{plan.gpu} (sm{plan.compute_capability.replace('.', '')})"
    return " or ".join(plan.targets)


def fits(plan: PlanFacts, gpu: Gpu) -> bool:
    """Whether a plan was built for this GPU; one of RTX that names no targets is left for the runtime to judge."""
    if plan.compute_capability is None:
        return not plan.targets or gpu.target in plan.targets
    major, minor = gpu.compute_capability
    if plan.options.get("hardware_compatibility") == "ampere-plus" and major >= 8:
        return True
    return plan.compute_capability == f"{major}.{minor}"


def runs_on(bundle: Bundle) -> str:
    """The GPUs that a bundle is for, in words."""
    plan: Any = bundle.manifest.engine.plan
    named = "" if plan is None else _built_for(plan)
    return f"a machine with {named}" if named else "a machine with a GPU that it was built for"
