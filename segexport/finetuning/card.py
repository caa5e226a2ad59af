"""The card of a trained model: what it was trained on and how, what it scores, whose licence it is under."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from huggingface_hub import ModelCardData

from segexport.finetuning.recipe import counted
from segexport.spec import Labels, format_size

if TYPE_CHECKING:
    from segexport.finetuning.finish import Score

_NON_COMMERCIAL = (
    "The training began with weights that are not free: those NVIDIA publishes for SegFormer are under the NVIDIA "
    "Source Code License for SegFormer, which allows research and evaluation only, and a model fine-tuned from them "
    "falls under it too. Check the licence of the start ({start}) before any other use."
)
_FROM_RANDOM = (
    "The training began with random weights: no licence of published weights applies. That of the images does."
)


def text(settings: dict[str, Any], labels: Labels, score: Score) -> str:
    """The card as Markdown, with the hub's metadata in front."""
    start, data, recipe = settings["start"], settings["data"], settings["recipe"]
    random = start["random"]
    metadata = ModelCardData(
        license="other",
        license_name="see-below",
        library_name="transformers",
        pipeline_tag="image-segmentation",
        tags=["segformer", "segexport"],
        base_model=None if random else _hub_id(start["model"]),
    )
    versions, size = settings["versions"], format_size(settings["sizes"]["network"])
    length = counted(score.steps, "step")
    if recipe["minutes"] is not None:
        length += f" in {counted(recipe['minutes'], 'minute')}"
    classes = "\n".join(f"| {name} | {_percent(score.iou[name])} |" for name in labels.names)
    rest = "\n".join(f"| {name} | {value} |" for name, value in {**recipe, "steps": score.steps}.items())
    licence = _FROM_RANDOM if random else _NON_COMMERCIAL.format(start=start["model"])
    return f"""---
{metadata.to_yaml()}
---

# SegFormer, {len(labels)} classes

Fine-tuned with segexport {versions["segexport"]}: {length} of batch {recipe["batch"]} on
{data["train"]["images"]} images.

## Scores

On {score.images} validation images, whole, at {size}, scored at the labels' own size; weights of step {score.step}.
mIoU is the mean over the classes that occur; {_of_interval(score)}.

| | % |
|---|--:|
| mIoU | {_interval(score)} |
| pixel accuracy | {score.pixel_accuracy:.2%} |

| class | IoU |
|---|--:|
{classes}

The weights were chosen by their mIoU on these images, so it reads a little high: `segexport evaluate` on others says
more.

## Data

| | images | SHA-256 |
|---|--:|---|
| train | {data["train"]["images"]} | `{data["train"]["sha256"][:16]}` |
| validation | {data["val"]["images"]} | `{data["val"]["sha256"][:16]}` |

## Start

{chr(10).join(f"- {line}" for line in start["report"])}

## Recipe

| | |
|---|---|
{rest}

## Licence

{licence} The licence of the training images may bind the model as well.
"""


def _hub_id(name: str) -> str | None:
    """A start's hub id; a folder or file is nobody else's to find."""
    return name if name.count("/") == 1 and not name.startswith((".", "/")) else None


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _interval(score: Score) -> str:
    found = score.miou
    between = "" if found.low is None or found.high is None else f" ({found.low:.2%} to {found.high:.2%})"
    return f"{found.value:.2%}{between}"


def _of_interval(score: Score) -> str:
    if score.miou.known:
        return "its 95 % interval is a bootstrap over images"
    return "there is no interval, as there are too few images for one"
