"""OpenVINO's names of the precision it computes in, and the benchmark's."""

from __future__ import annotations

_NAMES = {"f32": "fp32", "float32": "fp32", "bf16": "bf16", "bfloat16": "bf16", "f16": "fp16", "float16": "fp16"}


def precision_of(hint: str) -> str:
    """INFERENCE_PRECISION_HINT as rows name it."""
    return _NAMES.get(hint, hint)
