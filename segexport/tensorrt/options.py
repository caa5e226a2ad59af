"""What a TensorRT engine is built with, and which version can: every option is explicit, none is ignored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from segexport.errors import ContractError, EngineUnavailable
from segexport.spec import DYNAMIC, MAX_SIDE, MIN_SIDE, Contract, Precision
from segexport.tensorrt.flavour import RTX, Flavour, release

ClassMapPlace = Literal["device", "graph"]
HardwareCompatibility = Literal["none", "same-compute-capability", "ampere-plus"]

Shape = tuple[int, int, int]
"""(batch, height, width)."""

OPEN_BATCHES = (1, 1, 8)
"""Least, best and most images of a call where the batch is open and no profile is named."""


@dataclass(frozen=True)
class Profile:
    """The images that an engine serves: least, best and most, each (batch, height, width)."""

    least: Shape
    best: Shape
    most: Shape

    def __post_init__(self) -> None:
        for low, middle, high in zip(self.least, self.best, self.most, strict=True):
            if not 1 <= low <= middle <= high:
                raise ContractError(f"profile {self} does not rise: write LEAST:BEST:MOST, each NxHxW")
        for shape in (self.least, self.most):
            if not all(MIN_SIDE <= side <= MAX_SIDE for side in shape[1:]):
                raise ContractError(f"profile {self} has a side outside of {MIN_SIDE} to {MAX_SIDE}")

    def __str__(self) -> str:
        shapes = (self.least, self.best, self.most)
        return ":".join("x".join(map(str, shape)) for shape in (shapes[:1] if len(set(shapes)) == 1 else shapes))

    def serves(self, shape: Shape) -> bool:
        """Whether images of this (batch, height, width) are within it."""
        return all(low <= side <= high for low, side, high in zip(self.least, shape, self.most, strict=True))

    @property
    def fixed(self) -> bool:
        """Whether it serves one shape only."""
        return self.least == self.most


def parse_profile(text: str) -> Profile:
    """Read `1x512x512`, or `1x256x256:1x512x512:4x1024x1024` (least, best, most).

    Raises:
        ContractError: neither.
    """
    shapes = []
    for part in text.lower().split(":"):
        sides = part.split("x")
        if len(sides) != 3 or not all(side.strip().isdecimal() for side in sides):
            raise ContractError(f"'{text}' is no profile: write NxHxW, or LEAST:BEST:MOST of them")
        shapes.append((int(sides[0]), int(sides[1]), int(sides[2])))
    if len(shapes) not in (1, 3):
        raise ContractError(f"'{text}' is no profile: write NxHxW, or LEAST:BEST:MOST of them")
    return Profile(shapes[0], shapes[len(shapes) // 2], shapes[-1])


@dataclass(frozen=True)
class TensorRtOptions:
    """How to build an engine.

    Attributes:
        targets: compute capabilities of a plan of TensorRT for RTX; those of its own choice if empty. Classic TensorRT
            builds for the GPU at hand.
        profiles: images to serve, where they differ from the contract's one size; several give one engine several.
        workspace_mib: memory for the tactics that the builder tries and the engine uses; the whole GPU's if None.
        optimization_level: 0 (quick build) to 5 (all tactics); TensorRT's own if None.
        tf32: round FP32's factors to TF32 on tensor cores. Off: FP32 means FP32.
        version_compatible: the plan runs on later minor versions too.
        hardware_compatibility: the plan runs on other GPUs too.
        weight_streaming: weights may stay in host memory and be streamed.
        dla: core of a Jetson's DLA; what it cannot compute, the GPU does.
        class_map: made behind the engine on the `device`, or by operators of the `graph`; if None on the device,
            where the contract's output is a mask.
        attention_accumulate: what FP16 attention sums its scores in; the measured default if None.
    """

    targets: tuple[str, ...] = ()
    profiles: tuple[Profile, ...] = ()
    workspace_mib: int | None = None
    optimization_level: int | None = None
    tf32: bool = False
    version_compatible: bool = False
    hardware_compatibility: HardwareCompatibility = "none"
    weight_streaming: bool = False
    dla: int | None = None
    class_map: ClassMapPlace | None = None
    attention_accumulate: Literal["fp16", "fp32"] | None = None


DEFAULTS = TensorRtOptions()


def require_possible(options: TensorRtOptions, flavour: Flavour, version: str, precision: Precision) -> None:
    """Refuse options that this TensorRT does not have, before any work is done for them.

    Sources: NVIDIA's release notes and the bindings of each version (`stubs/`).

    Raises:
        EngineUnavailable: names the option, and why.
        ContractError: options that exclude each other.
    """
    for option, reason in _reasons(options, flavour, release(version), precision):
        raise EngineUnavailable(f"{option} is not for {flavour.title} {version}: {reason}; leave it out")
    if options.optimization_level is not None and not 0 <= options.optimization_level <= 5:
        raise ContractError(f"--optimization-level {options.optimization_level} does not exist: pass 0 to 5")
    if options.workspace_mib is not None and options.workspace_mib < 1:
        raise ContractError(f"--workspace {options.workspace_mib} is no memory: pass MiB, such as 1024")


def _reasons(
    options: TensorRtOptions, flavour: Flavour, version: tuple[int, int], precision: Precision
) -> Sequence[tuple[str, str]]:
    found = []
    if flavour is RTX:
        if options.hardware_compatibility != "none":
            found.append(("--hardware-compatibility", "it ignores it, and serves several GPUs with --target"))
        if options.weight_streaming:
            found.append(("--weight-streaming", "streaming is set up on a GPU, which its builder does not see"))
        if options.dla is not None:
            found.append(("--dla", "it computes on RTX GPUs, which have no DLA"))
        return found
    if options.targets:
        found.append(("--target", "it builds for the GPU at hand"))
    if options.hardware_compatibility == "same-compute-capability" and version < (10, 7):
        found.append(("--hardware-compatibility same-compute-capability", "it came with 10.7"))
    if options.dla is not None:
        if (11, 0) <= version < (11, 2):
            found.append(("--dla", "11.0 and 11.1 have no DLA"))
        elif precision not in ("fp16", "int8"):
            found.append(("--dla", f"the DLA computes in fp16 and int8, not {precision}"))
        elif any(not profile.fixed for profile in options.profiles):
            found.append(("--dla", "the DLA takes one size of image"))
    return found


def profiles_of(options: TensorRtOptions, contract: Contract) -> tuple[Profile, ...]:
    """The profiles of an engine: those asked for, or what the contract implies.

    Raises:
        ContractError: no profile serves what the bundle is checked with.
    """
    own = (1 if contract.batch == DYNAMIC else contract.batch, *contract.image_size)
    if not options.profiles:
        batches = OPEN_BATCHES if contract.batch == DYNAMIC else (contract.batch,) * 3
        least, best, most = ((batch, *contract.image_size) for batch in batches)
        return (Profile(least, best, most),)
    if not any(profile.serves(own) for profile in options.profiles):
        raise ContractError(
            f"no profile serves {'x'.join(map(str, own))}, which the bundle is checked with: add it as a --profile"
        )
    return options.profiles


def opens_size(profiles: Sequence[Profile], contract: Contract) -> bool:
    """Whether a profile has another height or width than the contract, so that the graph's have to be opened."""
    return any(shape[1:] != contract.image_size for one in profiles for shape in (one.least, one.best, one.most))


def opens_batch(profiles: Sequence[Profile], contract: Contract) -> bool:
    """Whether a profile has another batch than a contract whose batch is fixed."""
    batches = {shape[0] for one in profiles for shape in (one.least, one.best, one.most)}
    return contract.batch != DYNAMIC and batches != {contract.batch}
