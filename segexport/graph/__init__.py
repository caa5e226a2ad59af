"""ONNX we write ourselves, on onnx_ir: the image side, the mask side, and the graph that holds its contract."""
