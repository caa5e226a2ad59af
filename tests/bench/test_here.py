"""Why a bundle cannot run here, said without running it."""

from __future__ import annotations

import dataclasses

import pytest

from segexport.bench import why_not
from segexport.bundle import Bundle, PlanFacts
from segexport.engines import ON_GPU, info
from segexport.spec import Precision

pytestmark = pytest.mark.bundle


def of(bundle: Bundle, engine: str, precision: Precision = "fp32", plan: PlanFacts | None = None) -> Bundle:
    """The bundle as if built for another engine, or in another precision."""
    facts = dataclasses.replace(bundle.manifest.engine, name=engine, plan=plan)
    return Bundle(bundle.folder, dataclasses.replace(bundle.manifest, engine=facts, precision=precision))


def test_one_that_runs_here_has_nothing_against_it(bundle: Bundle) -> None:
    assert why_not(bundle) is None


def test_another_precision_than_the_engine_computes_in(bundle: Bundle) -> None:
    assert "onnxruntime does not compute in bf16" in (why_not(of(bundle, "onnxruntime", "bf16")) or "")


@pytest.mark.parametrize("engine", ON_GPU)
def test_a_gpu_that_is_not_there(bundle: Bundle, engine: str) -> None:
    found = info(engine)
    if found.devices:
        pytest.skip(f"{engine} can run here")
    said = why_not(of(bundle, engine))
    assert said is not None
    assert engine in said
    assert found.install in said if found.version is None else found.missing in said


def test_a_plan_says_where_it_runs(bundle: Bundle) -> None:
    found = info("tensorrt-rtx")
    if found.version is None or found.devices:
        pytest.skip("needs TensorRT for RTX, and no GPU for it")
    plan = PlanFacts(("sm89",), None, None, "Linux x86_64", (), {}, "0" * 64)
    assert (why_not(of(bundle, "tensorrt-rtx", plan=plan)) or "").endswith(
        "the bundle itself is whole: it runs on a machine with sm89"
    )
