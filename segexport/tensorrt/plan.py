"""What an engine of TensorRT for RTX does, read from its plan file: no GPU, no driver and no TensorRT needed.

A plan contains its program after fusion as text (`plan_text`). NVIDIA documents none of it: use this for reporting
only. Sections and texts that cannot be read are named in the report's notes; nothing is guessed.

Plans of classic TensorRT hold no such text; its EngineInspector tells the same on the GPU (`inspector`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from segexport.tensorrt.plan_file import RawPlan, RawProgram, classic_version, is_plan, read_parts
from segexport.tensorrt.plan_findings import program
from segexport.tensorrt.plan_ops import Context, operation, type_of
from segexport.tensorrt.plan_report import PlanReport, PlanTensor, Program, Shapes
from segexport.tensorrt.plan_shapes import size_of, values
from segexport.tensorrt.plan_text import Text, parse

__all__ = ["is_plan", "of_classic", "read_plan"]

_PROFILE = re.compile(r" \[profile (\d+)\]$")


def read_plan(path: str | Path) -> PlanReport:
    """Read a plan that TensorRT for RTX wrote.

    Raises:
        DataError: no such file; empty; no plan; a plan of classic TensorRT; cut off.
    """
    raw = read_parts(path)
    texts = [parse(one.text) for one in raw.programs]
    notes = _notes(raw, texts)
    profiles = _profiles(raw, texts)
    programs = tuple(
        _program(text, one, raw, profiles or ()) for text, one in zip(texts, raw.programs, strict=True) if text.main
    )
    if profiles is None:
        notes.append("profiles: none found, though inputs are open")
    later = [text.settings.get("hardware_forward_compatibility") for text in texts]
    return PlanReport(
        file=str(path),
        size_bytes=raw.size_bytes,
        engine="tensorrt-rtx",
        version=raw.version,
        targets=raw.targets
        or tuple(dict.fromkeys(name for text in texts for name in text.lists.get("accelerators", ()))),
        later_targets=None if not later or None in later else set(later) == {"1"},
        weights_bytes=raw.weights_bytes,
        inputs=tuple(_ports(texts, "inputs")),
        outputs=tuple(_ports(texts, "outputs")),
        profiles=profiles,
        programs=programs,
        notes=tuple(notes),
    )


def of_classic(path: str | Path) -> PlanReport | None:
    """What can be told of a plan of classic TensorRT without its GPU, its size and version; None for all other files.

    Raises:
        DataError: it cannot be read.
    """
    if (version := classic_version(path)) is None:
        return None
    note = "program: only EngineInspector can read it, on the GPU that the plan is for"
    return PlanReport(
        str(path), Path(path).stat().st_size, "tensorrt", version, (), None, None, (), (), None, (), (note,)
    )


def _notes(raw: RawPlan, texts: list[Text]) -> list[str]:
    notes = []
    if raw.extra_bytes:
        notes.append(f"size: {raw.extra_bytes:,} bytes follow the plan's end")
    if not raw.targets:
        notes.append("targets: not where they were in TensorRT for RTX 1.7")
    if not any(text.main for text in texts):
        notes.append(f"program: none found in this plan of TensorRT for RTX {raw.version}; 1.7 is known")
    if unread := sum(text.unread for text in texts):
        notes.append(f"program: {unread} lines could not be read, so that operations or sizes may be missing")
    return notes


def _profiles(raw: RawPlan, texts: list[Text]) -> tuple[Shapes, ...] | None:
    """Shapes of every input in every profile; empty for fixed shapes, None where they are open and none was found."""
    names = [port.name for port in _ports(texts, "inputs")]
    found = []
    for profile, bindings in enumerate(raw.profiles):
        inputs = [binding for binding in bindings if binding is not None]
        for index, (least, best, most) in enumerate(inputs):
            name = names[index] if len(names) == len(inputs) else f"input {index}"
            found.append(Shapes(profile, name, least, best, most))
    is_open = any(-1 in port.shape for port in _ports(texts, "inputs"))
    return None if is_open and not found else tuple(found)


def _program(text: Text, one: RawProgram, raw: RawPlan, profiles: Iterable[Shapes]) -> Program:
    profile = _profile(text)
    shapes = {shape.input: shape.most for shape in profiles if shape.profile == profile}
    known = values(text, {name: shapes[plain] for name in _names(text, "inputs") if (plain := _plain(name)) in shapes})
    context = Context(text, tuple(map(parse, one.inner)), raw.kernels, known)
    return program(
        [operation(statement, context) for statement in text.operations()],
        profile=profile,
        targets=tuple(text.lists.get("accelerators", ())),
        tf32={"1": True, "0": False}.get(text.settings.get("tf32", "")),
        scratch_bytes=_scratch(text),
    )


def _scratch(text: Text) -> int | None:
    """Device memory that whoever runs the plan must give it; None without a list of regions."""
    sizes = [
        region.get("size")
        for region in text.regions
        if region.get("type") == "user" and region.get("place") == "accelerator"
    ]
    if not text.regions or not all(isinstance(size, str) and size.isdecimal() for size in sizes):
        return None
    return sum(int(size) for size in sizes if isinstance(size, str))


def _profile(text: Text) -> int:
    for name in (*text.lists.get("inputs", ()), *text.lists.get("outputs", ())):
        if found := _PROFILE.search(_version_cut(name)):
            return int(found[1])
    return 0


def _ports(texts: list[Text], which: str) -> Iterable[PlanTensor]:
    """The plan's inputs or outputs: those of the first profile's programs that are not each other's."""
    first = [text for text in texts if _profile(text) == 0]
    other = {name for text in first for name in text.lists.get("outputs" if which == "inputs" else "inputs", ())}
    for text in first:
        for name in _names(text, which):
            tensor = text.tensors.get(name)
            if name in other or tensor is None:
                continue
            shape = tuple(side if isinstance(side, int) else -1 for side in tensor.dims)
            yield PlanTensor(_plain(name), type_of(tensor), shape, False, size_of(tensor, type_of(tensor), {}))


def _names(text: Text, which: str) -> list[str]:
    """A program's inputs or outputs without the integers that it computes shapes from."""
    return [name for name in text.lists.get(which, ()) if name not in text.lists.get("shape_inputs", ())]


def _plain(name: str) -> str:
    """A tensor's name in the network: without the number that a program adds, and the profile."""
    return _PROFILE.sub("", _version_cut(name))


def _version_cut(name: str) -> str:
    return re.sub(r"\.\d+$", "", name)
