"""The weights of a checkpoint: found, hashed, read into NumPy arrays, and put into transformers' models.

    folder -> safetensors_files                             -> element_types
           -> pickles -> opcodes -> admitted -> storages    -> element_types
    pytorch   what torch and transformers are needed for, which are imported when it is called

Files are read without torch, and nothing in them is executed.
"""

from segexport.weights.folder import find, read_tensors, sha256, shapes
from segexport.weights.pickles import load_pickle
from segexport.weights.pytorch import (
    INSTALL,
    from_tensors,
    image_processor_class,
    load_model,
    quiet_transformers,
    require_training,
)

__all__ = [
    "INSTALL",
    "find",
    "from_tensors",
    "image_processor_class",
    "load_model",
    "load_pickle",
    "quiet_transformers",
    "read_tensors",
    "require_training",
    "sha256",
    "shapes",
]
