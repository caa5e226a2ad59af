"""The PyTorch reference, as transformers' users run it: image processor, model, `post_process_semantic_segmentation`.

Not an engine to build for: every other engine is measured against it.
"""

from __future__ import annotations

from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from segexport.checkpoint import Checkpoint
from segexport.engines.base import EngineInfo, Outputs, Runner, check_images
from segexport.images import UInt8
from segexport.processor import find_processor
from segexport.spec import Contract, Size
from segexport.weights import INSTALL, image_processor_class, quiet_transformers

if TYPE_CHECKING:
    import torch

NAME = "pytorch"


def info() -> EngineInfo:
    """Version and devices, whether or not the package is installed."""
    try:
        return EngineInfo(NAME, metadata.version("torch"), ("CPU",), INSTALL, builds=False)
    except metadata.PackageNotFoundError:
        return EngineInfo(NAME, None, (), INSTALL, builds=False)


def open_checkpoint(
    checkpoint: Checkpoint, contract: Contract, *, own_size: bool = False, threads: int | None = None
) -> PyTorchRunner:
    """The checkpoint in fp32 behind the same surface as an engine.

    Args:
        checkpoint: what to run.
        contract: size of the network and of the outputs. Images are RGB here, whatever the contract's order.
        own_size: accept images of any size and return class maps of that size, as `bench` wants it.
        threads: CPU threads; torch's own default if None.

    Raises:
        CheckpointError: the weights cannot be loaded.
        EngineUnavailable: torch or transformers is not installed.
    """
    return PyTorchRunner(checkpoint, contract, own_size, threads)


class PyTorchRunner(Runner):
    """`stage` is the image processor, `execute` the model, `fetch` the post-processing."""

    def __init__(self, checkpoint: Checkpoint, contract: Contract, own_size: bool, threads: int | None) -> None:
        self.contract = contract
        self._model = checkpoint.model()
        self._processor = image_processor(checkpoint)
        self._own_size = own_size
        self._image_size: Size = contract.size
        self._batch: Any = None
        self._outputs: Any = None
        if threads is not None:
            import torch

            torch.set_num_threads(threads)

    def stage(self, images: UInt8) -> None:
        """The checkpoint's processor with `size` forced to the network's; resizes only what has another size."""
        if not self._own_size:
            check_images(images, self.contract)
        self._image_size = images.shape[1], images.shape[2]
        height, width = self.contract.size
        self._batch = self._processor(
            images=list(images),
            do_resize=self._image_size != self.contract.size,
            size={"height": height, "width": width},
            input_data_format="channels_last",
            return_tensors="pt",
        )

    def execute(self) -> None:
        """The model's forward pass."""
        import torch

        with torch.inference_mode():
            self._outputs = self._model(**self._batch)

    def fetch(self) -> Outputs:
        """Class maps in the image's or the contract's size, or what else the contract promises."""
        logits: torch.Tensor = self._outputs.logits
        if self.contract.output == "topk":
            scores, classes = logits.softmax(-1).topk(self.contract.topk)
            return {"classes": classes.numpy().astype(np.int32), "scores": scores.numpy()}
        if self.contract.mask_size is None:
            return {"logits": logits.numpy()}
        size = self._image_size if self._own_size else self.contract.mask_size
        if self.contract.output == "mask" or self._own_size:
            maps = self._processor.post_process_semantic_segmentation(self._outputs, target_sizes=[size] * len(logits))
            return {"mask": np.stack([m.numpy() for m in maps]).astype(np.uint8)}
        return self._upsampled(logits, size)

    def _upsampled(self, logits: torch.Tensor, size: Size) -> Outputs:
        import torch

        full = torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        if self.contract.output == "logits":
            return {"logits": full.numpy()}
        best = full.softmax(1).max(1)
        return {"mask": best.indices.numpy().astype(np.uint8), "confidence": best.values.numpy()}


def image_processor(checkpoint: Checkpoint) -> Any:
    """The checkpoint's own processor, read by transformers itself, in the variant that needs no torchvision.

    A checkpoint without one gets transformers' defaults, which are ours: 1/255 and ImageNet mean and std.
    """
    kind = image_processor_class()
    with quiet_transformers():
        if checkpoint.folder is not None and find_processor(checkpoint.folder) is not None:
            return kind.from_pretrained(checkpoint.folder, local_files_only=True)
        return kind()
