"""Who takes part on this machine, and who does not, with the reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import environments
from benchmarks.cases import Table
from benchmarks.results import REFERENCE, SECOND_REFERENCE
from segexport.engines import ENGINES, EngineInfo, info
from segexport.spec import Precision

PLAIN = "plain-onnx"
"""Its graph is the plain one, which all peers execute: its multiply-accumulates are theirs."""


@dataclass(frozen=True)
class Contender:
    """A worker script in an environment, and what its requests say beyond the case."""

    name: str
    environment: str
    script: str
    request: dict[str, Any] = field(default_factory=dict)
    prepares: bool = True
    """Whether it has files to make from the checkpoint before it can be opened."""

    @property
    def is_ours(self) -> bool:
        """Whether this checkout is what is measured."""
        return self.environment == environments.OWN


_EAGER = Contender(REFERENCE, "huggingface", "huggingface.py", {"variant": "eager"}, prepares=False)
_PLAIN = Contender(PLAIN, "huggingface", "plain_onnx.py")
_CONVERTED = Contender("openvino-convert", "openvino", "openvino_convert.py")

PEERS = (
    _EAGER,
    Contender("torch-compile", "huggingface", "huggingface.py", {"variant": "compile"}, prepares=False),
    Contender("hf-pipeline", "huggingface", "huggingface.py", {"variant": "pipeline"}, prepares=False),
    Contender(SECOND_REFERENCE, "optimum", "optimum_onnx.py"),
    _PLAIN,
    Contender("optimum-intel", "optimum-intel", "optimum_intel.py"),
    _CONVERTED,
)

STOCK = (
    _EAGER,
    _PLAIN,
    Contender("ort-quantize-static", "huggingface", "ort_quantize.py"),
    Contender("modelopt-int8", "modelopt", "modelopt_onnx.py", {"variant": "int8"}),
    Contender("modelopt-autocast-fp16", "modelopt", "modelopt_onnx.py", {"variant": "fp16"}),
    _CONVERTED,
    Contender("nncf-int8", "nncf", "nncf_openvino.py", {"transformer": False}),
    Contender("nncf-int8-transformer", "nncf", "nncf_openvino.py", {"transformer": True}),
)
"""What makes lower precisions elsewhere, each behind the graph that it starts from."""

_PRECISIONS: dict[Table, tuple[Precision, ...]] = {
    "peers": ("fp32", "bf16"),
    "precisions": ("fp32", "bf16", "fp16", "int8"),
}
_CANNOT: dict[Precision, str] = {
    "bf16": "this processor has neither avx512_bf16 nor amx_bf16",
    "fp16": "OpenVINO has no FP16 on this processor; ONNX Runtime's row says what it does to accuracy",
    "int8": "this processor has no INT8",
}
_TUNED = "segexport-openvino-int8-tuned"


def field_of(table: Table, placement: Path | None = None) -> tuple[list[Contender], dict[str, str]]:
    """Contenders of a table that can run on this machine, and the reasons why others cannot.

    Of segexport: every engine it builds for and every precision of the table, where the engine is installed, has a
    device and computes in that precision here; and OpenVINO with a placement that `segexport tune` found.
    """
    ours: list[Contender] = []
    left_out = {}
    for engine in ENGINES:
        facts = info(engine)
        if not facts.builds:
            continue
        name = f"segexport-{engine}"
        if facts.version is None:
            left_out[name] = f"{engine} is not installed: {facts.install}"
        elif not facts.devices:
            left_out[name] = f"{engine} {facts.version} has no device here"
        else:
            ours += [_own(facts, precision) for precision in _PRECISIONS[table] if precision in facts.precisions]
            if engine == "openvino":
                missing = [precision for precision in _PRECISIONS[table] if precision not in facts.precisions]
                left_out |= {f"{name}-{precision}": _CANNOT[precision] for precision in missing}
    if table == "peers":
        return [*PEERS, *ours], left_out
    if placement is None:
        left_out[_TUNED] = "pass --placement FILE, a placement.json of segexport tune"
    else:
        request = {"engine": "openvino", "precision": "int8", "placement": str(placement.resolve())}
        ours.append(Contender(_TUNED, environments.OWN, "segexport_bundle.py", request))
    return [*STOCK, *ours], left_out


def _own(engine: EngineInfo, precision: Precision) -> Contender:
    name = f"segexport-{engine.name}" + ("" if precision == "fp32" else f"-{precision}")
    return Contender(name, environments.OWN, "segexport_bundle.py", {"engine": engine.name, "precision": precision})


def precisions(flags: set[str]) -> list[str]:
    """What the processor has instructions to multiply in: fp32, and bf16 and int8 where it is faster at them."""
    found = ["fp32"]
    if flags & {"avx512_bf16", "amx_bf16", "bf16", "svebf16"}:
        found.append("bf16")
    if flags & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}:
        found.append("int8")
    return found


def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """The processor's features by Linux's names; empty elsewhere."""
    if not cpuinfo.exists():
        return set()
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return set(value.split())
    return set()
