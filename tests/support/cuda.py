"""The CUDA toolkit's compiler: whether it is there, and what it compiles for."""

from __future__ import annotations

import shutil
import subprocess

import pytest

CAPABILITIES = [
    pytest.param(one, id="sm_{}{}".format(*one), marks=[] if one == (8, 7) else pytest.mark.slow)
    for one in [(7, 5), (8, 0), (8, 6), (8, 7), (8, 9), (9, 0), (10, 0), (12, 0)]
]
needs_nvcc = pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc of the CUDA toolkit")


def architectures() -> set[str]:
    """What nvcc compiles for, such as sm_87."""
    done = subprocess.run(["nvcc", "--list-gpu-code"], check=True, capture_output=True, text=True)
    return set(done.stdout.split())
