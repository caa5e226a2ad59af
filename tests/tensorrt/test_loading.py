"""Plans of other machines, and plans that are none: said before TensorRT fails, or from what it says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from segexport.bundle import Bundle, EngineFacts, Manifest, PlanFacts
from segexport.errors import BundleCorrupt, EngineMismatch, EngineUnavailable
from segexport.spec import Contract, Labels, Preprocessing, Source
from segexport.tensorrt import loading
from segexport.tensorrt.compile import compile_plan
from segexport.tensorrt.device import Gpu, gpus
from segexport.tensorrt.flavour import CLASSIC, RTX, Flavour
from segexport.tensorrt.loading import deserialise, require_same, runs_on
from segexport.tensorrt.options import TensorRtOptions
from tests.support import small_graphs

LINUX = "Linux x86_64"
ADA, AMPERE, ORIN, TURING = (
    Gpu(0, "NVIDIA GeForce RTX 4090", (8, 9), 24 << 30),
    Gpu(0, "NVIDIA GeForce RTX 3090", (8, 6), 24 << 30),
    Gpu(0, "Orin", (8, 7), 8 << 30),
    Gpu(0, "NVIDIA T4", (7, 5), 16 << 30),
)
ON_ORIN = PlanFacts((), "8.7", "Orin", "Linux aarch64", ("1x512x512",), {}, "0" * 64)
FOR_ADA = PlanFacts(("sm89",), None, None, LINUX, ("1x512x512",), {}, "0" * 64)


def bundle(folder: Path, plan: PlanFacts | None, version: str = "10.3.0", flavour: Flavour = CLASSIC) -> Bundle:
    facts = EngineFacts(flavour.engine, version, "GPU", "", plan=plan)
    manifest = Manifest(
        "0",
        Source("x", None, "0" * 64),
        "fp16",
        Contract((512, 512), mask_size=(512, 512)),
        Preprocessing(),
        Labels(("a",), ((0, 0, 0),)),
        facts,
        (),
        {},
        {},
    )
    return Bundle(folder, manifest)


def with_options(plan: PlanFacts, **options: object) -> PlanFacts:
    return dataclasses.replace(plan, options=options)


@pytest.mark.parametrize(
    ("plan", "flavour", "built", "here", "gpu", "system"),
    [
        (ON_ORIN, CLASSIC, "10.3.0", "10.3.0", ORIN, "Linux aarch64"),
        (with_options(ON_ORIN, version_compatible=True), CLASSIC, "10.3.0", "10.13.2", ORIN, "Linux aarch64"),
        (
            with_options(dataclasses.replace(ON_ORIN, system=LINUX), hardware_compatibility="ampere-plus"),
            *(CLASSIC, "10.3.0", "10.3.0", ADA, LINUX),
        ),
        (FOR_ADA, RTX, "1.7.1", "1.7.1", ADA, LINUX),
        (dataclasses.replace(FOR_ADA, targets=()), RTX, "1.7.1", "1.7.1", TURING, LINUX),
        (dataclasses.replace(FOR_ADA, targets=("sm86", "sm89")), RTX, "1.7.1", "1.7.1", AMPERE, LINUX),
    ],
    ids=["as built", "later minor version", "ampere-plus", "target", "targets of its own choice", "one of two targets"],
)
def test_what_a_plan_is_for(plan, flavour, built, here, gpu, system) -> None:
    require_same(bundle(Path("b"), plan, built, flavour), flavour, here, gpu, system)


@pytest.mark.parametrize(
    ("plan", "flavour", "here", "gpu", "system", "says"),
    [
        (ON_ORIN, CLASSIC, "10.13.2", ORIN, "Linux aarch64", "for TensorRT 10.3.0, and here is 10.13.2:"),
        (ON_ORIN, CLASSIC, "10.3.0", ADA, "Linux aarch64", "for GPU Orin (sm87), and here is NVIDIA GeForce RTX 4090"),
        (ON_ORIN, CLASSIC, "10.3.0", ORIN, LINUX, "for system Linux aarch64, and here is Linux x86_64:"),
        (with_options(ON_ORIN, version_compatible=True), CLASSIC, "11.4.0", ORIN, "Linux aarch64", "here is 11.4.0:"),
        (with_options(ON_ORIN, version_compatible=True), CLASSIC, "10.2.0", ORIN, "Linux aarch64", "here is 10.2.0:"),
        (
            with_options(dataclasses.replace(ON_ORIN, system=LINUX), hardware_compatibility="ampere-plus"),
            *(CLASSIC, "10.3.0", TURING, LINUX, "for GPU Orin (sm87), and here is NVIDIA T4 (sm75):"),
        ),
        (FOR_ADA, RTX, "10.3.0", AMPERE, LINUX, "for GPU sm89, and here is NVIDIA GeForce RTX 3090 (sm86):"),
        (with_options(FOR_ADA, version_compatible=True), RTX, "10.4.0", ADA, LINUX, "for TensorRT for RTX 10.3.0, and"),
    ],
)
def test_another_machine(plan, flavour, here, gpu, system, says, tmp_path: Path) -> None:
    with pytest.raises(EngineMismatch) as caught:
        require_same(bundle(tmp_path, plan, flavour=flavour), flavour, here, gpu, system)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'engine.plan'} is for ")
    assert says in text
    assert f"segexport build --from-bundle {tmp_path} --engine {flavour.engine}" in text
    assert text.endswith(f"{' --target ' + gpu.target if plan.targets else ''} --out NEW builds it for this machine")
    assert "\n" not in text


def test_every_difference_is_named(tmp_path: Path) -> None:
    with pytest.raises(EngineMismatch, match=r"for system .*; for TensorRT .*; for GPU "):
        require_same(bundle(tmp_path, ON_ORIN), CLASSIC, "11.4.0", ADA, LINUX)


def test_a_bundle_without_a_plan(tmp_path: Path) -> None:
    with pytest.raises(BundleCorrupt, match="is for tensorrt and has no plan"):
        require_same(bundle(tmp_path, None), CLASSIC, "10.3.0", ADA, LINUX)


def test_where_it_runs(tmp_path: Path) -> None:
    assert runs_on(bundle(tmp_path, ON_ORIN)) == "a machine with Orin (sm87)"
    assert runs_on(bundle(tmp_path, FOR_ADA)) == "a machine with sm89"
    assert "GPU" in runs_on(bundle(tmp_path, dataclasses.replace(FOR_ADA, targets=())))


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the real builder makes."""
    pytest.importorskip("tensorrt_rtx", reason="TensorRT for RTX is not installed: pip install tensorrt-rtx-cu13")
    folder = tmp_path_factory.mktemp("plan")
    graph = small_graphs.segmenter(folder / "graph.onnx")
    compile_plan(RTX, graph, folder / "engine.plan", options=TensorRtOptions())
    return (folder / "engine.plan").read_bytes()


class TestTheRealRuntime:
    """TensorRT for RTX, which looks at a plan's bytes before it looks for a GPU."""

    @pytest.mark.parametrize(
        "cut",
        [lambda plan: plan[: len(plan) // 2], lambda plan: b"", lambda plan: b"garbage" * 999],
        ids=["half", "empty", "garbage"],
    )
    def test_not_a_whole_plan(self, plan: bytes, cut, tmp_path: Path) -> None:
        (tmp_path / "engine.plan").write_bytes(cut(plan))
        with pytest.raises(
            BundleCorrupt, match=r"engine.plan is not a whole plan \(.+\): copy the bundle again"
        ) as caught:
            deserialise(bundle(tmp_path, FOR_ADA, flavour=RTX), RTX, ADA)
        assert "\n" not in str(caught.value)

    @pytest.mark.skipif(bool(gpus()), reason="there is a GPU here")
    def test_what_it_says_is_passed_on(self, plan: bytes, tmp_path: Path) -> None:
        """Here, that there is no driver; callers have looked for one before."""
        (tmp_path / "engine.plan").write_bytes(plan)
        with pytest.raises(
            EngineMismatch, match=r"tensorrt-rtx does not take .*\(.*driver.*\): segexport build --from-b"
        ):
            deserialise(bundle(tmp_path, FOR_ADA, flavour=RTX), RTX, ADA)


class TestWhatTensorRtSays:
    @pytest.mark.parametrize(
        ("said", "error", "message"),
        [
            (["Version tag does not match."], EngineMismatch, r"does not take .* \(Version tag does not match\.\)"),
            ([], EngineMismatch, r"\(it gives no reason\)"),
            (["first", "CUDA error: out of memory\n  here"], EngineUnavailable, r"too little memory .*memory here\)"),
            (["first", "plan.header.size == blobSize failed."], BundleCorrupt, r"not a whole plan \(plan.header.size"),
        ],
    )
    def test_it_becomes(self, said: list[str], error: type[Exception], message: str, tmp_path: Path) -> None:
        found = loading._refused(bundle(tmp_path, ON_ORIN), ADA, said)
        assert type(found) is error
        with pytest.raises(error, match=message):
            raise found
