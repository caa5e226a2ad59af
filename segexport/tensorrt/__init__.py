"""TensorRT and TensorRT for RTX: options, building, plans and what runs them."""
