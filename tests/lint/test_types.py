"""The table of types that each operator takes is what TensorRT for RTX does, operator by operator and type by type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from segexport.lint import choose_targets
from segexport.lint.rules import operators
from tests.lint.zoo.animal import Animal, i64
from tests.support.verdicts import verdicts

(RTX,) = choose_targets(["rtx"])
KINDS = ("float", "float16", "bfloat16", "int32", "int64", "bool", "int8")
COMPARING = ("And", "Or", "Xor", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
ELSEWHERE = {"Range": "its inputs are shapes or constants", "Mod": "needs fmod=1 for floats and 0 for integers"}
NEWER = {
    "Gelu": 20,
    "GridSample": 20,
    "GroupNormalization": 21,
    "RMSNormalization": 23,
    "Swish": 24,
    "QuantizeLinear": 21,
}

ONE = """
    Abs Acos Acosh ArgMax ArgMin Asin Asinh Atan Atanh Ceil Celu Cos Cosh Dropout Elu Erf Exp Flatten Floor Gelu
    GlobalAveragePool GlobalLpPool GlobalMaxPool HardSigmoid HardSwish Hardmax Identity IsInf IsNaN LeakyRelu Log
    LogSoftmax LpNormalization MeanVarianceNormalization Mish Neg Not Reciprocal Relu Round Selu Shape Shrink Sigmoid
    Sign Sin Sinh Size Softmax Softplus Softsign Sqrt Swish Tan Tanh ThresholdedRelu Transpose Trilu
"""
TWO = "Add Sub Mul Div Max Min Pow Sum Mean PRelu And Or Xor Equal Greater GreaterOrEqual Less LessOrEqual"
REDUCING = "L1 L2 LogSum LogSumExp Max Mean Min Prod Sum SumSquare"
FORMS = {
    "T[1,4,8,8] x | y = OP(x)": ONE,
    "T[4,8] x, T[4,8] z | y = OP(x, z)": TWO,
    "T[1,4,8,8] x | y = OP(x, two)": " ".join(f"Reduce{one}" for one in REDUCING.split()),
    "T[8,8] x | y = OP(x, x)": "MatMul Gemm",
    'T[8,8] x | y = OP<equation="ij,jk->ik">(x, x)': "Einsum",
    "T[1,4,8,8] x, T[4,4,1,1] w | y = OP(x, w)": "Conv ConvTranspose",
    "T[4,8] x | y = OP<axis=0>(x, x)": "Concat",
    "T[4,8] x | y, z = OP<num_outputs=2>(x)": "Split",
    "T[4,8] x | y = OP(x, one, two, zero)": "Slice",
    "T[4,8] x | y = OP(x, zero)": "Gather Unsqueeze",
    "T[4,8] x | y = OP(x, zeros)": "GatherElements",
    "T[4,8] x | y = OP(x, origin)": "GatherND",
    "T[4,8] x, T[1,8] u | y = OP(x, origin, u)": "ScatterND",
    "T[4,8] x, T[4,8] u | y = OP(x, zeros, u)": "ScatterElements",
    "T[4,8] x | y = OP(x, sizes)": "Reshape",
    "T[1,8] x | y = OP(x, zero)": "Squeeze",
    "T[1,1] x | y = OP(x, sizes)": "Expand Tile",
    "T[4,8] x | y = OP(x, margins)": "Pad",
    "bool[4,8] c, T[4,8] x | y = OP(c, x, x)": "Where",
    "T[4,8] x, T a, T b | y = OP(x, a, b)": "Clip",
    "T[4,8] x | y = OP(x, axis)": "CumSum",
    "T[1,4,8,8] x | y = OP<blocksize=2>(x)": "DepthToSpace SpaceToDepth",
    "T[1,4,8,8] x | y = OP<kernel_shape=[2,2]>(x)": "AveragePool LpPool MaxPool",
    "T[1,4,8,8] x | y = OP<size=3>(x)": "LRN",
    "T[1,4,8,8] x, T[1,8,8,2] g | y = OP(x, g)": "GridSample",
    'T[1,4,8,8] x | y = OP<mode="linear">(x, , , larger)': "Resize",
    "T[4,8] x | y, i = OP(x, two)": "TopK",
    "int64[4] i, T[2] v | y = OP(i, depth, v)": "OneHot",
    "T[4,4] x | y = OP(x)": "EyeLike",
    "T[4,8] x, T[8] s | y = OP(x, s, s)": "LayerNormalization",
    "T[1,4,8,8] x, T[4] s | y = OP(x, s, s)": "InstanceNormalization",
    "T[1,4,8,8] x, T[4] s | y = OP<num_groups=2>(x, s, s)": "GroupNormalization",
    "T[1,4,8,8] x, T[4] s | y = OP(x, s, s, s, s)": "BatchNormalization",
    "T[4,8] x, T[8] s | y = OP(x, s)": "RMSNormalization",
    "T[4,8] x | y = OP(x, lengths)": "ReverseSequence",
    "T[4,8] x | y = OP<to=1>(x)": "Cast",
    "T[4,8] x, T s | y = OP(x, s, nothing)": "QuantizeLinear",
}
CONSTANTS = {
    "zero": i64(0), "one": i64(1), "two": i64(2), "depth": i64(5), "axis": np.int64(0), "sizes": i64(8, 4),
    "margins": i64(1, 1, 1, 1), "larger": i64(1, 4, 16, 16), "lengths": np.ones(8, np.int64),
    "zeros": np.zeros((4, 8), np.int64), "origin": np.zeros((4, 1), np.int64)[:1], "nothing": np.int8(0),
}  # fmt: skip


def tried() -> list[tuple[str, str, Animal]]:
    found = []
    for form, names in FORMS.items():
        inputs, body = form.split(" | ")
        used = {name: array for name, array in CONSTANTS.items() if f"{name})" in body or f"{name}," in body}
        for operator in names.split():
            for kind in KINDS:
                out = "bool" if operator in COMPARING else kind
                signature = f"({inputs.replace('T', kind)}) => ({out} y)"
                made = Animal(
                    f"{operator} {kind}", signature, body.replace("OP", operator), used, opset=NEWER.get(operator, 18)
                )
                found.append((operator, kind, made))
    return found


@pytest.mark.slow  # some 800 graphs
def test_the_table_is_what_tensorrt_takes(rtx: None, tmp_path: Path) -> None:
    table = operators(RTX).types
    files = {(operator, kind): animal.save(tmp_path) for operator, kind, animal in tried()}
    assert {operator for operator, _ in files} == set(table) - set(ELSEWHERE)
    said = verdicts(list(files.values()))
    wrong = {
        key: said[path.name]["reason"]
        for key, path in files.items()
        if said[path.name]["taken"] != (key[1] in table[key[0]])
    }
    assert wrong == {}
