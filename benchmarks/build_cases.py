"""What builds are measured: their options, and whom each is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import CALIBRATION, CHECKPOINT, CaseError

BEFORE, AFTER, OPTIMUM = "before", "after", "optimum"
"""The sides: an earlier commit, this one, and a peer."""

BUILDER = "segexport.tensorrt.worker"
"""In the command line of the process in which TensorRT compiles a plan."""

_SIZE = ("--size", "512x512")


@dataclass(frozen=True)
class Case:
    """One build, by two sides: what is compared, and then what it is compared for."""

    name: str
    what: str
    model: tuple[str, ...]
    """The options that name it."""
    engine: str
    more: tuple[str, ...] = ()
    sides: tuple[str, str] = (BEFORE, AFTER)
    needs: tuple[Path, ...] = ()
    """Folders that must be there."""

    def command(self, side: str, program: Path) -> list[str]:
        """What a side runs, as a user does, in an empty folder."""
        if side == OPTIMUM:
            task = ("--task", "semantic-segmentation")
            return [str(program), "export", "onnx", *self.model, *task, "exported"]
        return [str(program), "build", *self.model, "--engine", self.engine, *_SIZE, *self.more, "--out", "bundle"]

    def warm_up(self, side: str, program: Path) -> list[str]:
        """A small build, which brings what a side loads into memory and its modules' bytecode onto the disk."""
        if side == OPTIMUM:
            return self.command(side, program)
        small = ("--model", "b0", "--random-init", "--size", "64x64")
        return [str(program), "build", *small, "--engine", self.engine, "--out", "bundle"]


def cases(checkpoint: Path | None = None, data: Path | None = None) -> list[Case]:
    """All of them, with a checkpoint and calibration images of the caller's, or those of CamVid beside the checkout."""
    said = "SegFormer B0 trained on CamVid" if checkpoint is None else f"checkpoint {checkpoint.name}"
    folder, images = (checkpoint or CHECKPOINT).resolve(), (data or CALIBRATION).resolve()
    trained = ("--model", str(folder))
    int8 = ("--precision", "int8", "--calibration", str(images))
    fp16 = ("--precision", "fp16")
    rtx, compiled = "tensorrt-rtx", "fp16, plan of TensorRT for RTX"
    b0, b5 = (("--model", name, "--random-init") for name in ("b0", "b5"))
    b0_said, b5_said = (f"SegFormer {name}, random weights, 150 labels" for name in ("B0", "B5"))
    peer = (OPTIMUM, AFTER)
    exported = "`optimum-cli export onnx` beside this commit's `b0-fp32`"
    return [
        Case("b0-fp32", f"{said}, fp32", trained, "onnxruntime", needs=(folder,)),
        Case("b0-fp16-random", f"{b0_said}, fp16", b0, "onnxruntime", fp16),
        Case("b5-fp32", f"{b5_said}, fp32", b5, "onnxruntime"),
        Case("b0-int8", f"{said}, int8, 64 calibration images", trained, "openvino", int8, needs=(folder, images)),
        Case("b0-rtx-fp16", f"{b0_said}, {compiled}", b0, rtx, fp16),
        Case("b5-rtx-fp16", f"{b5_said}, {compiled}", b5, rtx, fp16),
        Case("optimum", f"{said}, fp32: {exported}", trained, "onnxruntime", sides=peer, needs=(folder,)),
    ]


def chosen(known: Sequence[Case], names: Sequence[str]) -> list[Case]:
    """The cases of these names, or all of them.

    Raises:
        CaseError: there is no case of that name.
    """
    for name in names:
        if name not in {case.name for case in known}:
            raise CaseError(f"there is no case {name}: choose from {', '.join(case.name for case in known)}")
    return [case for case in known if not names or case.name in names]
