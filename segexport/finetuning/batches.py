"""From images to what the model reads: `datasets` with a transform on the fly, then SegformerImageProcessor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from segexport.datasets import LabelledImages
from segexport.finetuning.visits import Visits
from segexport.spec import Size

if TYPE_CHECKING:
    import torch


def training_set(visits: Visits, count: int) -> Any:
    """A `datasets.Dataset` of `count` visits: rows of `image`, uint8 [h, w, 3], and `mask`, uint8 [h, w]."""
    import datasets

    return datasets.Dataset.from_dict({"visit": np.arange(count)}).with_transform(visits)


def validation_set(images: LabelledImages) -> Any:
    """A `datasets.Dataset` of whole images and masks of their own size."""
    import datasets

    def read(rows: dict[str, list[int]]) -> dict[str, list[Any]]:
        samples = [images.sample(index) for index in rows["index"]]
        return {"image": [s.image for s in samples], "mask": [s.mask for s in samples]}

    return datasets.Dataset.from_dict({"index": np.arange(len(images))}).with_transform(read)


class Collate:
    """Stacks rows: `pixel_values`, float32 [N, 3, h, w] as the processor makes them.

    Args:
        processor: a SegformerImageProcessor.
        network: size that images are brought to, for validation; `labels` are then a list of int64 masks, each of its
            image's own size. None takes crops as they are, and stacks their masks: int64 [N, h, w].
    """

    def __init__(self, processor: Any, network: Size | None = None) -> None:
        self._processor, self._network = processor, network

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """A batch of rows."""
        import torch

        masks = [torch.from_numpy(row["mask"].astype(np.int64)) for row in rows]
        values = torch.cat([self._values(row["image"]) for row in rows])
        return {"pixel_values": values, "labels": torch.stack(masks) if self._network is None else masks}

    def _values(self, image: Any) -> torch.Tensor:
        size = self._network or image.shape[:2]
        found: torch.Tensor = self._processor(
            images=[image],
            do_resize=image.shape[:2] != size,
            size={"height": size[0], "width": size[1]},
            do_reduce_labels=False,  # the masks have gone through that
            input_data_format="channels_last",
            return_tensors="pt",
        )["pixel_values"]
        return found
