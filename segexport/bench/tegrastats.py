"""What NVIDIA's `tegrastats` prints on a Jetson, and which of its power rails are the total.

A line is a row of fields. Their names, number and spelling differ by module and release; the lines that this was read
off, each with its source, are in `tests/recorded/tegrastats`. What is not known is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

_GUIDE = (
    "https://docs.nvidia.com/jetson/archives/r36.4.3/DeveloperGuide/SD/PlatformPowerAndPerformance/"
    "JetsonOrinNanoSeriesJetsonOrinNxSeriesAndJetsonAgxOrinSeries.html"
)
_FORUM = "https://forums.developer.nvidia.com/t/"

_START = re.compile(r"(?:(\d\d-\d\d-\d{4} \d\d:\d\d:\d\d) )?RAM (\d+)/(\d+)MB(?=\s|$)")
_RAIL = re.compile(r"(?<!\S)([A-Za-z]\w*) (-?\d+)(?:mW(?:/-?\d+mW){0,2}|/-?\d+)(?!\S)")
_GPU = re.compile(r"(?<!\S)GR3D_FREQ (?:(\d+)%)?(?:@(?:\[([\d,]+)\]|(\d+)))?(?!\S)")
_CELSIUS = re.compile(r"(?<!\S)(\w+)@(-?\d+(?:\.\d+)?)C(?:/-?\d+(?:\.\d+)?C)?(?!\S)")

_NO_RAILS = ("NC", "RAM", "SWAP", "IRAM")
"""A channel of a power monitor that is not connected; memory, which looks like a rail where its line is cut off."""
_ABSENT = -200.0
"""Degrees below which no sensor measures: one that is powered down says -256."""


@dataclass(frozen=True)
class Sample:
    """One line. Rails are in milliwatts at that moment, not the average since the start that stands behind it.

    `gpu_load` is a percentage, `gpu_mhz` one clock for each cluster of the GPU, `celsius` the sensors that measure.
    """

    time: str | None
    ram_mb: tuple[int, int]
    rails_mw: Mapping[str, int]
    gpu_load: int | None
    gpu_mhz: tuple[int, ...]
    celsius: Mapping[str, float]


@dataclass(frozen=True)
class Total:
    """Whose rails make up the whole: `rails` are added, `contained` are measured too and are part of those.

    `beside` have to be there as well for the rule to hold; `scope` is what the sum covers.
    """

    modules: str
    scope: str
    rails: tuple[str, ...]
    source: str
    contained: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    def of(self, sample: Sample) -> int | None:
        """Milliwatts in all, or None where a rail is missing from the line."""
        found = [sample.rails_mw.get(rail) for rail in self.rails]
        return None if None in found else sum(value for value in found if value is not None)


_THOR = ("VDD_GPU", "VDD_CPU_SOC_MSS", "VIN_SYS_5V0")

TOTALS = (
    Total(
        modules="Jetson Thor on a carrier board with its own power monitor (INA238)",
        scope="carrier board and module",
        rails=("VIN",),
        contained=_THOR,
        beside=("VDD_CPU_SOC_MSS",),
        source=f"{_FORUM}question-about-power-monitor-with-additional-load-on-jetson-thor/366461",
    ),
    Total(
        modules="Jetson Thor",
        scope="module",
        rails=_THOR,
        source="by analogy with AGX Orin; in public lines that have VIN too, the sum is 6 to 13 W below it",
    ),
    Total(
        modules="Jetson AGX Orin",
        scope="module",
        rails=("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"),
        contained=("VDDQ_VDD2_1V8AO",),
        source=f"{_GUIDE}: VDDQ_VDD2_1V8AO is included in VIN_SYS_5V0",
    ),
    Total(
        modules="Jetson Orin NX, Orin Nano, Xavier NX, TX2",
        scope="module",
        rails=("VDD_IN",),
        contained=("VDD_CPU_GPU_CV", "VDD_CPU_GPU", "VDD_SOC"),
        source=f"{_FORUM}interpretation-of-jetson-nx-power-rail/200883: VDD_IN is the total power of the module",
    ),
    Total(
        modules="Jetson AGX Xavier",
        scope="module",
        rails=("GPU", "CPU", "SOC", "CV", "VDDRQ", "SYS5V"),
        source="https://github.com/energymon/energymon/blob/master/jetson/JetsonPowerRails.md",
    ),
)


@dataclass(frozen=True)
class Spread:
    """Of one quantity over all samples."""

    mean: float
    least: float
    most: float


@dataclass(frozen=True)
class Recording:
    """What a recording comes to.

    Attributes:
        samples: lines that tegrastats meant.
        malformed: other lines, such as one cut off at its start.
        incomplete: samples that lack a rail of the total, and do not count for it.
        total_mw: None where no rule is known for the rails, or every sample lacks one of them.
        rails_mw: the mean of each rail over the samples that have it.
        gpu_load, gpu_mhz: means; None where this tegrastats does not print them.
        celsius: the highest of each sensor.
    """

    samples: int
    malformed: int
    incomplete: int
    total_mw: Spread | None
    rails_mw: dict[str, float] = field(default_factory=dict)
    gpu_load: float | None = None
    gpu_mhz: float | None = None
    celsius: dict[str, float] = field(default_factory=dict)


def parse(line: str) -> Sample | None:
    """One line of tegrastats, or None where it is none."""
    start = _START.match(line.strip())
    if start is None:
        return None
    gpu = _GPU.search(line)
    clocks = (gpu[2] or gpu[3] or "") if gpu else ""
    return Sample(
        time=start[1],
        ram_mb=(int(start[2]), int(start[3])),
        rails_mw={name: int(now) for name, now in _RAIL.findall(line) if name not in _NO_RAILS},
        gpu_load=int(gpu[1]) if gpu and gpu[1] else None,
        gpu_mhz=tuple(int(clock) for clock in clocks.split(",") if clock),
        celsius={name: float(now) for name, now in _CELSIUS.findall(line) if float(now) > _ABSENT},
    )


def total_for(rails: Iterable[str]) -> Total | None:
    """The rule for rails of these names, or None where there is none."""
    names = set(rails)
    return next((total for total in TOTALS if names.issuperset((*total.rails, *total.beside))), None)


def not_counted(total: Total, rails: Iterable[str]) -> tuple[str, ...]:
    """Rails that are measured, and of which the rule does not know whether its total contains them."""
    return tuple(name for name in dict.fromkeys(rails) if name not in (*total.rails, *total.contained))


def summarize(lines: Sequence[str], total: Total | None) -> Recording:
    """What recorded lines come to, with the rule for the total, if there is one."""
    parsed = [parse(line) for line in lines if line.strip()]
    samples = [sample for sample in parsed if sample is not None]
    totals = [value for sample in samples if total and (value := total.of(sample)) is not None]
    loads = [sample.gpu_load for sample in samples if sample.gpu_load is not None]
    clocks = [max(sample.gpu_mhz) for sample in samples if sample.gpu_mhz]
    return Recording(
        samples=len(samples),
        malformed=len(parsed) - len(samples),
        incomplete=len(samples) - len(totals) if total else 0,
        total_mw=Spread(fmean(totals), min(totals), max(totals)) if totals else None,
        rails_mw={name: fmean(values) for name, values in _by_name(sample.rails_mw for sample in samples).items()},
        gpu_load=fmean(loads) if loads else None,
        gpu_mhz=fmean(clocks) if clocks else None,
        celsius={name: max(values) for name, values in _by_name(sample.celsius for sample in samples).items()},
    )


def _by_name(found: Iterable[Mapping[str, float]]) -> dict[str, list[float]]:
    values: dict[str, list[float]] = {}
    for one in found:
        for name, value in one.items():
            values.setdefault(name, []).append(value)
    return values
