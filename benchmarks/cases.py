"""What is measured: cases.toml, or one case of the caller's own checkpoint and images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

import tomllib

HERE = Path(__file__).parent
CASES = HERE / "cases.toml"
SHARED = HERE.parents[1] / "shared"
"""Beside the checkout: a trained checkpoint and its images, which are non-commercial and not part of the project."""
CHECKPOINT = SHARED / "checkpoints" / "segformer-b0-camvid"
DATA = SHARED / "camvid" / "val"
CALIBRATION = SHARED / "camvid" / "train"
SCORED = {"val": DATA, "test": SHARED / "camvid" / "test"}
"""Where precisions are scored: sets that none was calibrated on."""

Table = Literal["peers", "precisions"]
"""Who takes part, and what the table shows: what else runs the checkpoint, or what each precision costs."""

Weights = Literal["trained", "derived", "random", "own"]

STATEMENTS: Mapping[Weights, str] = {
    "trained": "trained weights",
    "derived": "trained weights, head repeated from 11 labels: latency only",
    "random": "random weights: class maps mean nothing, latency only",
    "own": "the caller's checkpoint",
}
OWN_CALLS = 20
SAMPLES, SEED = 64, 0
"""The calibration images that everybody gets: so many, drawn as `segexport calibrate` draws them."""


class CaseError(Exception):
    """A case that cannot be measured as asked; the message says what to do."""


@dataclass(frozen=True)
class Case:
    """One table: a network, its input, and how often everybody is called."""

    name: str
    model: str
    size: tuple[int, int]
    labels: int
    weights: Weights
    calls: int
    leave_out: Mapping[str, str] = field(default_factory=dict)
    checkpoint: Path = CHECKPOINT
    data: Path = DATA
    table: Table = "peers"

    @property
    def folders(self) -> tuple[Path, ...]:
        """Everything that must be there to measure it."""
        own = (self.checkpoint, self.data)
        return (*own, CALIBRATION, *SCORED.values()) if self.table == "precisions" else own

    @property
    def is_scored(self) -> bool:
        """Whether ground truth says anything about these weights."""
        return self.weights in ("trained", "own")


def read(path: Path = CASES) -> list[Case]:
    """The cases of a file.

    Raises:
        CaseError: a case lacks something, has something unknown, or shares its name with another.
    """
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["case"]
    cases = [_case(entry) for entry in entries]
    if len({case.name for case in cases}) < len(cases):
        raise CaseError(f"{path} has two cases of the same name")
    return cases


def _case(entry: dict[str, object]) -> Case:
    try:
        case = Case(**{**entry, "size": tuple(cast("list[int]", entry["size"]))})  # type: ignore[arg-type]
    except (TypeError, KeyError) as error:
        raise CaseError(f"case {entry.get('name', '?')}: {error}") from error
    if case.weights not in get_args(Weights):
        raise CaseError(f"case {case.name}: weights are {' or '.join(STATEMENTS)}, not {case.weights}")
    if case.table not in get_args(Table):
        raise CaseError(f"case {case.name}: tables are {' or '.join(get_args(Table))}, not {case.table}")
    return case


def chosen(names: list[str]) -> list[Case]:
    """The cases of these names, or all of them.

    Raises:
        CaseError: no case of that name, or its checkpoint and images are not there.
    """
    cases = read()
    for name in names:
        if name not in {case.name for case in cases}:
            raise CaseError(f"there is no case {name}: choose from {', '.join(case.name for case in cases)}")
    picked = [case for case in cases if not names or case.name in names]
    if not all(folder.is_dir() for case in picked for folder in case.folders):
        raise CaseError(
            "the cases need a CamVid checkpoint and images in ../shared, which are not part of the project: "
            "pass --checkpoint DIR and --data DIR to measure a checkpoint of your own"
        )
    return picked


def own(checkpoint: Path, data: Path) -> Case:
    """One case of a checkpoint in Hugging Face layout at its processor's size, with the caller's images.

    Raises:
        SegexportError: the checkpoint cannot be read.
    """
    from segexport.checkpoint import load

    loaded = load(checkpoint)
    return Case(
        name=checkpoint.resolve().name,
        model=checkpoint.resolve().name,
        size=loaded.default_size,
        labels=len(loaded.labels),
        weights="own",
        calls=OWN_CALLS,
        checkpoint=checkpoint.resolve(),
        data=data.resolve(),
    )
