"""Traps in a checkpoint's image processor, found in the numbers that it makes of an image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from segexport import scenes
from segexport.datasets import open_data
from segexport.images import UInt8, decode_image
from segexport.processor import FILE
from segexport.spec import IMAGENET_MEAN, IMAGENET_STD, Labels
from segexport.traps.trap import Trap
from segexport.weights import image_processor_class, quiet_transformers

_LOW, _HIGH = -2.2, 2.7
"""What 0 and 255 become with 1/255 and ImageNet mean and std: -2.12 at the least, 2.64 at the most."""

_RIGHT: dict[str, Any] = {
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": list(IMAGENET_MEAN),
    "image_std": list(IMAGENET_STD),
}
_RETRAIN = "; if it was trained with the numbers it makes now, leave it"


def first_image(data: str | Path | None) -> UInt8:
    """The image to try a processor on, uint8 [H, W, 3]: a generated scene, or the first of `data`.

    Raises:
        DataError: `data` cannot be read.
    """
    if data is None:
        return scenes.scene(scenes.VALIDATION_SEED)[0]
    stored = open_data(Path(data), Labels((), ()), limit=1, need_masks=False).stored(0)
    return decode_image(stored.image, stored.image_name)


def file_traps(folder: Path, path: Path | None, *, own: bool) -> list[Trap]:
    """The trap of having no processor's file at all."""
    if path is not None:
        return []
    return [
        Trap(
            "no-processor",
            "warning",
            str(folder),
            f"no {FILE} in the checkpoint",
            "1/255 and ImageNet mean and std are assumed; a training that did otherwise gives a worse result here",
            "save the processor that it was trained with, or write the usual one",
            _write(folder, {"image_processor_type": "SegformerImageProcessor", **_RIGHT}, own),
        )
    ]


def processor_traps(path: Path, image: UInt8, *, own: bool = True) -> list[Trap]:
    """Run the processor of a file on `image`, uint8 [H, W, 3], and judge what comes out.

    `own` says whether the folder is the user's, to be changed, and not the hub's cache.
    """
    where, code = str(path), _edit(path, _RIGHT, own)
    try:
        with quiet_transformers():
            processor = image_processor_class().from_pretrained(path.parent, local_files_only=True)
            batch = processor(images=image, input_data_format="channels_last", return_tensors="np")
        values = np.asarray(batch["pixel_values"][0], np.float64)
    except Exception as error:
        # A processor's file holds anything, and transformers raises as it pleases.
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        return [Trap("processor-fails", "error", where, line, "no image gets through it", "correct the file", code)]
    trap = _of_values(where, processor, values, image, code) or _of_mean(where, processor, code)
    return [*([trap] if trap else []), *_of_size(where, processor)]


def _of_values(where: str, processor: Any, values: npt.NDArray[np.float64], image: UInt8, code: str) -> Trap | None:
    low, high = float(values.min()), float(values.max())
    made = f"a real image becomes {low:.2f} to {high:.2f}, where -2.1 to 2.6 is usual"
    mean, factor = _mean(processor), float(processor.rescale_factor)
    said = f"do_rescale={processor.do_rescale}, do_normalize={processor.do_normalize}, image_mean={mean}"
    if not processor.do_normalize:
        return Trap(
            "never-normalised",
            "error",
            where,
            f"do_normalize is false: {made}",
            "SegFormer's published weights were trained on normalised images: they see noise otherwise",
            f"set do_normalize and do_rescale, with ImageNet mean and std{_RETRAIN}",
            code,
        )
    if high > 20:
        return Trap(
            "normalised-without-rescaling",
            "error",
            where,
            f"{said}: {made}",
            "the mean and std are for pixels of 0 to 1, and the pixels are 0 to 255: everything is saturated",
            f"set do_rescale to true, or divide images by 255 nowhere else{_RETRAIN}",
            code,
        )
    contrast, usual = np.ptp(values, axis=(1, 2)).max(), np.ptp(image) / 255 / max(IMAGENET_STD)
    if contrast < usual / 10:
        twice = f"rescale_factor={factor:.3g}, " if factor < 1 / 1000 else ""
        return Trap(
            "rescaled-twice",
            "error",
            where,
            f"{twice}{said}, image_std={_channels(processor.image_std)}: {made}",
            "the pixels are divided by 255 and then by more, so that every image is nearly the same grey",
            f"use 1/255 once, with a mean and std for pixels of 0 to 1{_RETRAIN}",
            code,
        )
    if low < _LOW or high > _HIGH:
        return Trap(
            "odd-values",
            "warning",
            where,
            f"{said}, rescale_factor={factor:.3g}: {made}",
            "weights trained on the usual range see other contrasts",
            f"set 1/255 and ImageNet mean and std{_RETRAIN}",
            code,
        )
    return None


def _of_mean(where: str, processor: Any, code: str) -> Trap | None:
    scale = 1.0 if processor.do_rescale else 255.0
    mean = [value / scale for value in _mean(processor)]
    deviation = [value / scale for value in _channels(processor.image_std)]
    if np.allclose(mean, IMAGENET_MEAN, atol=2e-3) and np.allclose(deviation, IMAGENET_STD, atol=2e-3):
        return None
    said = f"image_mean={_mean(processor)}, image_std={_channels(processor.image_std)}"
    if np.allclose(mean, IMAGENET_MEAN[::-1], atol=2e-3):
        return Trap(
            "mean-of-bgr",
            "error",
            where,
            f"{said}: ImageNet's, with blue before red",
            "the processor gets RGB images, whose red would be normalised as blue",
            f"turn image_mean and image_std round{_RETRAIN}",
            code,
        )
    family = "; a mean of 0.5 is that of ViT, BEiT and other families" if np.allclose(mean, 0.5, atol=2e-2) else ""
    return Trap(
        "mean-not-imagenets",
        "warning",
        where,
        f"{said}, where SegFormer has {list(IMAGENET_MEAN)} and {list(IMAGENET_STD)}{family}",
        "weights trained with ImageNet's mean and std see other colours",
        f"set ImageNet mean and std{_RETRAIN}",
        code,
    )


def _of_size(where: str, processor: Any) -> list[Trap]:
    size = dict(processor.size)
    sides = [int(size[key]) for key in ("height", "width") if key in size]
    if not processor.do_resize or len(sides) != 2:
        return []
    if all(side % 32 == 0 for side in sides):
        return []
    return [
        Trap(
            "size-not-of-32",
            "warning",
            where,
            f"images are resized to {sides[0]}x{sides[1]}, which 32 does not divide",
            "the four stages halve to sizes that do not match at the border, and engines are slower",
            "use multiples of 32",
        )
    ]


def _mean(processor: Any) -> list[float]:
    return _channels(processor.image_mean)


def _channels(value: Any) -> list[float]:
    return [float(v) for v in value] if isinstance(value, list | tuple) else [float(value)] * 3


def _edit(path: Path, changes: dict[str, Any], own: bool) -> str:
    """Python that changes entries of a processor's file, in place."""
    target = str(path.resolve()) if own else f"YOUR_COPY/{path.name}"
    return (
        "import json\nfrom pathlib import Path\n\n"
        f"path = Path({target!r})\n"
        "content = json.loads(path.read_text())\n"
        f'content.get("image_processor", content).update({changes!r})\n'
        "path.write_text(json.dumps(content, indent=2))\n"
    )


def _write(folder: Path, content: dict[str, Any], own: bool) -> str:
    target = str(folder.resolve() / FILE) if own else f"YOUR_COPY/{FILE}"
    return (
        "import json\nfrom pathlib import Path\n\n"
        f"content = {content!r}\n"
        f"Path({target!r}).write_text(json.dumps(content, indent=2))\n"
    )
