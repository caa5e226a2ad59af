"""The same report from EngineInspector's JSON, in texts of the form that is published; none is of our engines."""

from __future__ import annotations

import json

import pytest

from segexport.errors import DataError
from segexport.tensorrt.inspector import from_inspector

HALF, FLOAT = "Half", "Float"


def tensor(name: str, shape: list[int], dtype: str = HALF) -> dict:
    return {"Name": name, "Location": "Device", "Dimensions": shape, "Format/Datatype": dtype}


def layer(name: str, kind: str, inputs: list[dict], outputs: list[dict], nodes: list[str], **more) -> dict:
    metadata = "\x1f".join(f"[ONNX Layer: {node}]" for node in nodes)
    common = {
        "Name": name,
        "LayerType": kind,
        "Inputs": inputs,
        "Outputs": outputs,
        "Metadata": metadata,
        "StreamId": 0,
    }
    return {**common, "TacticName": more.pop("tactic", ""), **more}


# NVIDIA's guide shows a convolution of TensorRT 8 to 10 like this.
CONVOLUTION = {
    "Name": "res4_0_branch2a_1 + res4_0_branch2a_bn_1",
    "LayerType": "CaskConvolution",
    "Inputs": [tensor("res3_3", [16, 512, 28, 28], "Thirty-two wide channel vectorized row major Int8 format.")],
    "Outputs": [tensor("res4_0", [16, 256, 28, 28], "Thirty-two wide channel vectorized row major Int8 format.")],
    "ParameterType": "Convolution",
    "Kernel": [1, 1],
    "Weights": {"Type": "Int8", "Count": 131072},
    "Bias": {"Type": "Float", "Count": 256},
    "HasReLU": 1,
    "TacticName": "sm80_xmma_fprop_implicit_gemm_interleaved_i8i8_i8i32_f32_nchw_vect_c_32kcrs_vect_c_32",
    "TacticValue": "0x11bde0e1d9f2f35d",
}


def report(*layers, bindings=("image", "mask")):
    return from_inspector(json.dumps({"Layers": list(layers), "Bindings": list(bindings)}), file="engine.plan")


def test_a_convolution_of_nvidias_guide():
    found = report(CONVOLUTION, bindings=("res3_3", "res4_0"))
    (program,) = found.programs
    (op,) = program.ops
    assert (op.kind, op.product, op.computes, op.fp32) == ("CaskConvolution", "weights", "int8", None)
    assert op.read_bytes == 16 * 512 * 28 * 28 + 131072 + 256 * 4
    assert op.written_bytes == 16 * 256 * 28 * 28
    assert (program.traffic_bytes, found.weights_bytes) == (op.moved_bytes, 131072 + 256 * 4)
    assert [one.name for one in (*found.inputs, *found.outputs)] == ["res3_3", "res4_0"]
    assert (found.size_bytes, found.version, found.targets, found.profiles, program.scratch_bytes) == (
        (None, "unknown", (), None, None)
    )


def test_a_fused_and_an_unfused_attention_and_what_is_in_fp32():
    scope = "segformer.stages.0.blocks.0.attention"
    weight = tensor("__mye83123_dconst", [1, 32, 32])
    found = report(
        layer(
            "norm", "kgen", [tensor("image", [1, 4096, 32])], [tensor("n", [1, 4096, 32])], ["norm/LayerNormalization"]
        ),
        layer(
            "q", "gemm", [tensor("n", [1, 4096, 32]), weight], [tensor("q", [1, 4096, 32])], [f"{scope}.q_proj/MatMul"]
        ),
        layer(
            "_gemm_mha_v2_0x226fb500_myl0_14",
            "kgen",
            [tensor("q", [2, 4096, 16]), tensor("k", [2, 16, 256]), tensor("v", [2, 256, 16])],
            [tensor("mixed", [2, 4096, 16])],
            [f"{scope}/MatMul:a", f"{scope}/Softmax:b", f"{scope}/MatMul:c"],
            tactic="_gemm_mha_v2_0x226fb500",
        ),
        layer(
            "qk",
            "gemm",
            [tensor("mixed", [1, 64, 32]), tensor("k2", [1, 32, 64])],
            [tensor("s", [1, 64, 64])],
            ["b/MatMul:a"],
        ),
        layer("soft", "kgen", [tensor("s", [1, 64, 64])], [tensor("p", [1, 64, 64])], ["b/Softmax:b"]),
        layer(
            "pv",
            "gemm",
            [tensor("p", [1, 64, 64]), tensor("v2", [1, 64, 32])],
            [tensor("o", [1, 64, 32])],
            ["b/MatMul:c"],
        ),
        layer("kept", "gemm", [tensor("of", [1, 64, 32], FLOAT)], [tensor("mask", [1, 64, 9], FLOAT)], ["head/MatMul"]),
    )
    (program,) = found.programs
    assert (program.attention.fused, program.attention.blocks) == (1, 2)
    assert program.attention.accumulates == (("unknown", "unknown"),)
    assert program.products == {"fp16": 4, "fp32": 1}
    assert [(one.module, one.nodes, one.how) for one in program.fp32] == [("head", ("head/MatMul",), "product")]
    assert program.ops[1].inputs[1].constant
    assert program.ops[2].nodes[1] == f"{scope}/Softmax:b"
    assert program.kinds == {"gemm": 4, "kgen": 3}


@pytest.mark.parametrize(
    ("text", "dtype"),
    [
        ("Half", "fp16"),
        ("Float", "fp32"),
        ("BFloat16", "bf16"),
        ("Int8", "int8"),
        ("UInt8", "uint8"),
        ("Row major linear FP16 format", "fp16"),
        ("Channel major FP32 format where channel % 4 == 0", "fp32"),
        ("Row major linear BFloat16 format", "bf16"),
        ("Row major Int64 format", "int64"),
        ("Something new", "unknown"),
        ("N/A due to dynamic shapes", "unknown"),
    ],
)
def test_types(text, dtype):
    (program,) = report(layer("a", "kgen", [tensor("image", [2], text)], [tensor("mask", [2], text)], [])).programs
    assert program.ops[0].inputs[0].dtype == dtype
    assert (program.traffic_bytes is None) == (dtype == "unknown")


def test_profiles_and_open_dimensions():
    opened = [tensor("image", [-1, 8]), tensor("mask", [-1, 8])]
    second = [tensor("image [profile 1]", [2, 8]), tensor("mask [profile 1]", [2, 8])]
    found = report(
        layer("a", "kgen", opened[:1], opened[1:], []),
        layer("a [profile 1]", "kgen", second[:1], second[1:], []),
        bindings=("image", "mask", "image [profile 1]", "mask [profile 1]"),
    )
    assert [(one.profile, one.traffic_bytes) for one in found.programs] == [(0, None), (1, 2 * 2 * 8 * 2)]
    assert [one.shape for one in found.inputs] == [(-1, 8)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "this is not an EngineInspector's JSON"),
        ("[]", "this is not an EngineInspector's JSON"),
        ('{"Bindings": []}', "this is not an EngineInspector's JSON"),
        ('{"Layers": ["conv1 + relu1"], "Bindings": ["x"]}', "build the engine with ProfilingVerbosity.DETAILED"),
        ('{"Layers": [{"Name": "conv1"}]}', "build the engine with ProfilingVerbosity.DETAILED"),
    ],
)
def test_what_is_not_detailed_json(text, says):
    with pytest.raises(DataError, match=r"^engine\.plan: ") as raised:
        from_inspector(text, file="engine.plan")
    assert says in str(raised.value)
