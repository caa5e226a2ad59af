"""Who takes part on this machine, and who does not, with the reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import environments
from benchmarks.results import REFERENCE, SECOND_REFERENCE
from segexport.engines import ENGINES, info

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


PEERS = (
    Contender(REFERENCE, "huggingface", "huggingface.py", {"variant": "eager"}, prepares=False),
    Contender("torch-compile", "huggingface", "huggingface.py", {"variant": "compile"}, prepares=False),
    Contender("hf-pipeline", "huggingface", "huggingface.py", {"variant": "pipeline"}, prepares=False),
    Contender(SECOND_REFERENCE, "optimum", "optimum_onnx.py"),
    Contender(PLAIN, "huggingface", "plain_onnx.py"),
    Contender("optimum-intel", "optimum-intel", "optimum_intel.py"),
    Contender("openvino-convert", "openvino", "openvino_convert.py"),
)


def field_of() -> tuple[list[Contender], dict[str, str]]:
    """Contenders that can run on this machine, and the reasons why others cannot.

    Of segexport: every engine it builds for and every precision, where the engine is installed, has a device and
    computes in that precision here.
    """
    ours, left_out = [], {}
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
            ours.append(_own(name, engine, "fp32"))
            if "bf16" in facts.precisions:
                ours.append(_own(f"{name}-bf16", engine, "bf16"))
    if not any(contender.request["precision"] == "bf16" for contender in ours):
        left_out["segexport-openvino-bf16"] = "this processor has neither avx512_bf16 nor amx_bf16"
    return [*PEERS, *ours], left_out


def _own(name: str, engine: str, precision: str) -> Contender:
    request = {"engine": engine, "precision": precision}
    return Contender(name, environments.OWN, "segexport_bundle.py", request)


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
