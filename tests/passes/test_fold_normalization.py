"""Folding normalisation into the first convolution keeps every pixel, those at the zero-padded border too."""

from __future__ import annotations

import numpy as np
import pytest

from segexport.graph.graph import Graph
from segexport.passes.fold_normalization import FoldNormalization
from segexport.spec import IMAGENET_MEAN, IMAGENET_STD
from tests.support.handmade import apply, assert_declined, assert_unchanged, graph_of, operators, outputs_of

PLANES = (3, 1, 1)
IMAGENET = {
    "factor": np.float64(1 / 255),
    "mean": np.reshape(IMAGENET_MEAN, (1, *PLANES)),
    "std": np.reshape(IMAGENET_STD, (1, *PLANES)),
}
# Powers of two, and halves: float32 holds every product and sum, before and after.
EXACT = {
    "factor": np.float64(1 / 256),
    "mean": np.reshape([0.5, 0.375, 0.75], (1, *PLANES)),
    "std": np.reshape([0.25, 0.5, 0.125], (1, *PLANES)),
}
STEPS = ("Mul (x, factor)", "Sub (_, mean)", "Div (_, std)")
PADS = "pads=[3,3,3,3], strides=[4,4], kernel_shape=[7,7]"
PADDED = 'Pad <mode="constant"> (_, margin)'


def first_layer(
    *steps: str,
    batch: str = "1",
    conv: str = f"Conv <{PADS}> (_, weight, bias)",
    extra: str = "",
    outputs: str = "",
    **constants: np.ndarray | np.float64,
) -> Graph:
    """SegFormer's first convolution, 7x7 with stride 4 and padding 3, behind `steps`; _ is what the one before made."""
    rng = np.random.default_rng(0)
    body, last = [], "x"
    for index, step in enumerate((*steps, conv)):
        name = f"s{index}" if step != conv else "y"
        body.append(f"{name} = {step.replace('_,', f'{last},')}")
        last = name
    given = {
        "weight": rng.integers(-3, 4, (5, 3, 7, 7)).astype(np.float64),
        "bias": rng.integers(-3, 4, 5).astype(np.float64),
        "margin": np.array([0, 0, 3, 3, 0, 0, 3, 3]),
        "bgr": np.array([2, 1, 0]),
        **EXACT,
        **constants,
    }
    signature = f"(float[{batch},3,21,30] x) => (float[{batch},c,h,w] y {outputs})"
    used = {name: np.asarray(value) for name, value in given.items() if any(name in line for line in (*body, extra))}
    return graph_of(signature, "\n".join([*body, extra]), used)


def pixels(batch: int = 1) -> dict[str, np.ndarray]:
    return {"x": np.random.default_rng(1).integers(0, 256, (batch, 3, 21, 30)).astype(np.float64)}


BGR = "Gather <axis=1> (x, bgr)"
AFTER_BGR = (BGR, "Mul (_, factor)", *STEPS[1:])
UNPADDED = "Conv <strides=[4,4], kernel_shape=[7,7]> (_, weight, bias)"
SPELLINGS = {
    "all steps": {"steps": STEPS},
    "dynamic batch": {"steps": STEPS, "batch": "N"},
    "bgr": {"steps": AFTER_BGR},
    "bgr, dynamic batch": {"steps": AFTER_BGR, "batch": "N"},
    "bgr and nothing else": {"steps": (BGR,)},
    "another order": {"steps": AFTER_BGR, "bgr": np.array([1, 2, 0])},
    "pad before": {"steps": (*STEPS, PADDED), "conv": UNPADDED},
    "pad before, bgr": {"steps": (*AFTER_BGR, PADDED), "conv": UNPADDED},
    "rescale only": {"steps": ("Mul (x, factor)",)},
    "normalise only": {"steps": ("Sub (x, mean)", "Div (_, std)")},
    "divide only": {"steps": ("Div (x, std)",)},
    "one number for all": {"steps": STEPS, "mean": np.float64(0.5), "std": np.full((1, 1, 1, 1), 0.25)},
    "planes without a batch": {"steps": STEPS, "mean": np.reshape([0.5, 0.25, 1], PLANES)},
    "no bias": {"steps": STEPS, "conv": f"Conv <{PADS}> (_, weight)"},
    "scaled twice": {"steps": (*STEPS, "Sub (_, mean)", "Mul (_, factor)")},
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_pixel_is_exactly_the_same(spelling: str) -> None:
    """Where nothing is rounded; so nothing of the mean has moved into the bias, which would show at the border."""
    options = dict(SPELLINGS[spelling])
    graph = first_layer(*options.pop("steps"), **options)
    images = pixels(2 if options.get("batch") == "N" else 1)
    (before,) = outputs_of(graph, images)
    result = apply(graph, FoldNormalization())
    assert (result.rewritten, result.declined) == (("y",), ())
    left = operators(graph)
    assert not {"Mul", "Div", "Gather"} & set(left)
    assert left.count("Sub") == any("mean" in step for step in SPELLINGS[spelling]["steps"])
    (after,) = outputs_of(graph, images)
    np.testing.assert_array_equal(after, before)
    assert_unchanged(graph, FoldNormalization())


@pytest.mark.parametrize("steps", [STEPS, AFTER_BGR])
def test_with_the_numbers_of_imagenet(steps: tuple[str, ...]) -> None:
    """float32 rounds each of 147 products once: far below 1e-5 of the largest."""
    rng = np.random.default_rng(2)
    graph = first_layer(*steps, **IMAGENET, weight=rng.normal(size=(5, 3, 7, 7)))
    (before,) = outputs_of(graph, pixels())
    apply(graph, FoldNormalization())
    (after,) = outputs_of(graph, pixels())
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5 * np.abs(before).max())


def test_a_graph_without_a_convolution() -> None:
    graph = graph_of("(float[1,3] x) => (float[1,3] y)", "y = Mul (x, x)", {})
    result = apply(graph, FoldNormalization())
    assert (result.rewritten, result.declined) == ((), ())


REASONS = [
    ({"steps": ("Sub (x, mean)",)}, "nothing but a subtraction"),
    ({"steps": ()}, "nothing but a subtraction"),
    (
        {
            "steps": STEPS,
            "conv": "Conv <group=3, kernel_shape=[7,7]> (_, weight)",
            "weight": np.ones((3, 1, 7, 7)),
        },
        "grouped",
    ),
    ({"steps": (*STEPS, 'Pad <mode="reflect"> (_, margin)'), "conv": UNPADDED}, "padding is not zeros"),
    (
        {"steps": (*STEPS, "Pad (_, margin, filling)"), "conv": UNPADDED, "filling": np.float64(1)},
        "padding is not zeros",
    ),
    ({"steps": STEPS, "outputs": ", float[1,3,21,30] leak", "extra": "leak = Identity (s1)"}, "other readers"),
    ({"steps": STEPS, "std": np.ones((1, 1, 1, 30))}, "neither one number nor one for each channel"),
    ({"steps": STEPS, "mean": np.ones((1, 1, 1, 30))}, "neither one number nor one for each channel"),
    ({"steps": STEPS, "std": np.array([[[[1.0]], [[0.0]], [[2.0]]]])}, "zero or not finite"),
    ({"steps": (*STEPS, "Mul (_, zero)"), "zero": np.float64(0)}, "zero or not finite"),
    ({"steps": AFTER_BGR, "bgr": np.array([0, 0, 0])}, "picked, not only reordered"),
    ({"steps": AFTER_BGR, "bgr": np.array([2, 1, -3])}, "picked, not only reordered"),
]


@pytest.mark.parametrize(("what", "reason"), REASONS)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_it_declines_with_a_reason(what: dict, reason: str) -> None:
    options = dict(what)
    graph = first_layer(*options.pop("steps"), **options)
    assert_declined(graph, FoldNormalization(), reason, pixels())


def test_a_weight_that_is_computed_is_left_alone() -> None:
    graph = first_layer(*STEPS, extra="computed = Add (weight, weight)", conv=f"Conv <{PADS}> (_, weight, bias)")
    body = graph.model.graph
    conv = next(node for node in body if node.op_type == "Conv")
    computed = next(node for node in body if node.op_type == "Add")
    conv.replace_input_with(1, computed.outputs[0])
    body.remove(computed)
    body.insert_before(conv, computed)
    assert_declined(graph, FoldNormalization(), "weight is not a constant", pixels())
