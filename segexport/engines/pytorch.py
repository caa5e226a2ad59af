"""The PyTorch reference, as transformers' users run it: image processor, model, `post_process_semantic_segmentation`.

Not an engine to build for: every other engine is measured against it.
"""

from __future__ import annotations

import copy
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from segexport.checkpoint import Checkpoint
from segexport.engines.base import EngineInfo, Outputs, Runner, check_images, check_pixels
from segexport.images import UInt8, resize_image
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
        own_size: accept images of any size, stretch them to the network's whatever the contract's resize mode, and
            return class maps of their size, as `bench` wants it.
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
        self._image_size: Size = contract.image_size
        self._resample = checkpoint.preprocessing.resample
        self._letterbox = not own_size and contract.content_size != contract.size
        self._batch: Any = None
        self._outputs: Any = None
        if threads is not None:
            import torch

            torch.set_num_threads(threads)

    def another(self, threads: int) -> PyTorchRunner:
        """A further runner of the same model, for the thread that asks for it, with so many CPU threads of its own."""
        import torch

        torch.set_num_threads(threads)
        return copy.copy(self)

    def stage(self, images: UInt8) -> None:
        """The checkpoint's processor with `size` forced to the network's; resizes only what has another size.

        A processor cannot letterbox: there Pillow resizes before it, and zeros are added behind it.
        """
        if not self._own_size:
            check_images(images, self.contract)
        self._image_size = images.shape[1], images.shape[2]
        height, width = size = self.contract.content_size if self._letterbox else self.contract.size
        inputs = [resize_image(image, size, self._resample) for image in images] if self._letterbox else list(images)
        self._batch = self._processor(
            images=inputs,
            do_resize=inputs[0].shape[:2] != size,
            size={"height": height, "width": width},
            input_data_format="channels_last",
            return_tensors="pt",
        )
        if self._letterbox:
            self._batch["pixel_values"] = _with_margins(self._batch["pixel_values"], self.contract)

    def execute(self) -> None:
        """The model's forward pass."""
        import torch

        with torch.inference_mode():
            self._outputs = self._model(**self._batch)
        if self._letterbox and self._outputs.logits.ndim == 4:
            self._outputs.logits = without_margins(self._outputs.logits, self.contract)

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

    def logits(self, images: UInt8) -> npt.NDArray[np.float32]:
        """The network's own logits of images in their own size, whatever the contract's.

        Args:
            images: uint8 [N, H, W, 3] RGB.

        Returns:
            float32 [N, classes, h, w], h and w the network's own: a quarter of the image's sides for published ones.

        Raises:
            ContractError: dtype is not uint8.
        """
        import torch

        check_pixels(images)
        batch = self._processor(
            images=list(images), do_resize=False, input_data_format="channels_last", return_tensors="pt"
        )
        with torch.inference_mode():
            logits: npt.NDArray[np.float32] = self._model(**batch).logits.numpy()
        return logits

    def _upsampled(self, logits: torch.Tensor, size: Size) -> Outputs:
        import torch

        full = torch.nn.functional.interpolate(logits, size=size, mode="bilinear", align_corners=False)
        if self.contract.output == "logits":
            return {"logits": full.numpy()}
        best = full.softmax(1).max(1)
        return {"mask": best.indices.numpy().astype(np.uint8), "confidence": best.values.numpy()}


def _with_margins(values: torch.Tensor, contract: Contract) -> torch.Tensor:
    """[N, 3, *content_size] inside zeros, [N, 3, *size]."""
    (height, width), (top, left) = contract.content_size, contract.content_offset
    whole = values.new_zeros((*values.shape[:2], *contract.size))
    whole[..., top : top + height, left : left + width] = values
    return whole


def without_margins(logits: torch.Tensor, contract: Contract) -> torch.Tensor:
    """Of logits [N, classes, *grid] those of the letterboxed image alone, [N, classes, h, w]."""
    height, width = contract.grid.of(contract.content_size)
    top, left = (offset // contract.grid.stride for offset in contract.content_offset)
    return logits[..., top : top + height, left : left + width]


def image_processor(checkpoint: Checkpoint) -> Any:
    """The checkpoint's own processor, read by transformers itself, in the variant that needs no torchvision.

    A checkpoint without one gets transformers' defaults, which are ours: 1/255 and ImageNet mean and std.
    """
    kind = image_processor_class()
    with quiet_transformers():
        if checkpoint.folder is not None and find_processor(checkpoint.folder) is not None:
            return kind.from_pretrained(checkpoint.folder, local_files_only=True)
        return kind()
