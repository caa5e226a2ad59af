"""Precision as a property of the graph: FP16 as a graph of casts, INT8 as QuantizeLinear/DequantizeLinear pairs.

TensorRT 11 and TensorRT for RTX are strongly typed: what a graph says is what they compute. So the same graph can be
run on a CPU, and what a precision costs in accuracy is known before the device is at hand.

Modules map Graph to Graph and know no engine: `layers` names what a precision is chosen for, `placement` says which
layers compute in INT8, `ranges` holds what calibration found, `fp16` and `int8` write the graphs.
"""
