"""QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

import numpy as np

from tests.lint.zoo.animal import Animal, f32, i8, i32

_QDQ = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) e = DequantizeLinear(w, t, v) y = MatMul(d, e)"


def _quantized(
    name: str, breaks: str = "", body: str = _QDQ, kind: str = "float", opset: int = 19, **changes
) -> Animal:
    scale = np.array(0.1, np.float16 if kind == "float16" else np.float32)
    zero = np.int8(0)
    constants = {"s": scale, "z": zero, "w": i8(8, 8), "t": scale, "v": zero, **changes}
    signature = f"({kind}[8,8] x) => ({kind}[8,8] y)"
    used = {key: value for key, value in constants.items() if f"{key}," in body or f"{key})" in body}
    return Animal(f"Q/DQ {name}", signature, body, used, breaks, opset=opset)


_NO_ZERO = _QDQ.replace("(x, s, z)", "(x, s)")
_BY_CHANNEL = _QDQ.replace("DequantizeLinear(w", "DequantizeLinear<axis=1>(w")
QUANTIZED = [
    _quantized("symmetric"),
    _quantized("in float16", kind="float16"),
    _quantized("by channel", body=_BY_CHANNEL, t=f32(8), v=i8(8) * 0),
    _quantized("one zero point for eight scales", "zero-point-count", body=_BY_CHANNEL, t=f32(8)),
    _quantized("without zero point", "zero-point-missing", body=_NO_ZERO),
    _quantized("without zero point, type named", opset=21,
               body=_NO_ZERO.replace("QuantizeLinear(x", "QuantizeLinear<output_dtype=3>(x", 1)),
    _quantized("weights without zero point", body=_QDQ.replace("(w, t, v)", "(w, t)")),
    _quantized("zero point 3", "zero-point", z=np.int8(3)),
    _quantized("zero point 128", "zero-point", z=np.uint8(128)),
    _quantized("uint8", "quantize-uint8", z=np.uint8(0)),
    _quantized("uint8 named", "quantize-output", opset=21,
               body=_NO_ZERO.replace("QuantizeLinear(x", "QuantizeLinear<output_dtype=2>(x", 1)),
    _quantized("uint8 weights", "uint8-reader quantize-uint8", w=np.ones((8, 8), np.uint8), v=np.uint8(0)),
    _quantized("scale 0", "scale", t=np.float32(0)),
    _quantized("negative scale", "scale", s=np.float32(-0.1)),
    _quantized("scale not a number", "scale", s=np.float32("nan")),
    _quantized("infinite scale", "scale-infinite", s=np.float32("inf")),
    _quantized("float32 scales in float16", "dequantize-type", kind="float16", t=np.float32(0.1)),
    _quantized("int32 bias", "quantized-bias", b=i32(*range(8)), o=np.int32(0),
               body=_QDQ.replace("y = MatMul(d, e)", "f = DequantizeLinear(b, t, o) y = Gemm(d, e, f)")),
    _quantized("int8 constant transposed", "int8-constant",
               body="r = Transpose(w) e = DequantizeLinear(r, t, v) y = MatMul(x, e)"),
    Animal("Q/DQ of a depthwise convolution", "(float[1,8,8,8] x) => (float[1,8,8,8] y)",
           "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) e = DequantizeLinear(w, s, z) "
           "y = Conv<group=8, pads=[1,1,1,1]>(d, e)", {"s": np.float32(0.1), "z": np.int8(0), "w": i8(8, 1, 3, 3)},
           "quantized-depthwise"),
]  # fmt: skip
