"""How to train: the SegFormer paper's recipe, and one that converges from random weights.

Source: Xie et al. 2021 (arXiv:2105.15203), section 4.1, and the configurations in NVlabs/SegFormer (`local_configs/`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from segexport.errors import ContractError

PAPER_STEPS = 160_000

ClassWeights = Literal["none", "sqrt"]
Autocast = Literal["auto", "bf16", "fp16", "off"]


@dataclass(frozen=True)
class Recipe:
    """Everything that shapes a training but its data and its start.

    Attributes:
        steps: optimizer steps.
        minutes: end after this long instead; the rate then follows the clock, and `steps` is only a bound.
        batch: images a step, over all processes and accumulated micro-batches.
        accumulate: micro-batches a step.
        learning_rate: AdamW's peak rate of the encoder.
        head_factor: the decode head's rate over the encoder's.
        weight_decay: AdamW's, on weights of two dimensions or more; none on norms and biases.
        warm_up: share of the training in which the rate rises from nothing.
        power: of the polynomial that the rate then follows to 0.
        clip: largest norm of the gradient; 0 clips nothing.
        scales: least and largest factor of the random resize.
        largest_share: a crop that one class fills by more than this is drawn again, up to ten times.
        flip: probability of a mirrored image.
        jitter: photometric jitter (brightness, contrast, saturation, hue).
        coarse: share of the training, at its start, at half the resolution (crops half as high and wide).
        class_weights: `sqrt` weighs each class with 1/sqrt(its share of the pixels), at most 10 times the mean.
        ohem: only hard pixels count.
        ema: decay of the weights' exponential moving average; None keeps none.
        drop_path: stochastic depth's largest rate; None leaves the checkpoint's.
        dropout: in front of the classifier; None leaves the checkpoint's.
        autocast: bf16, fp16 or off; auto takes bf16 where the hardware computes in it, else fp16 on a GPU, else off.
        seed: of the order, the augmentation, new weights and dropout.
    """

    steps: int = PAPER_STEPS
    minutes: float | None = None
    batch: int = 8
    accumulate: int = 1
    learning_rate: float = 6e-5
    head_factor: float = 10.0
    weight_decay: float = 0.01
    warm_up: float = 1500 / PAPER_STEPS
    power: float = 1.0
    clip: float = 0.0
    scales: tuple[float, float] = (0.5, 2.0)
    largest_share: float = 0.75
    flip: float = 0.5
    jitter: bool = True
    coarse: float = 0.0
    class_weights: ClassWeights = "none"
    ohem: bool = False
    ema: float | None = None
    drop_path: float | None = None
    dropout: float | None = None
    autocast: Autocast = "auto"
    seed: int = 0

    def __post_init__(self) -> None:
        for option, fits in (
            ("--steps", self.steps >= 1),
            ("--minutes", self.minutes is None or self.minutes > 0),
            ("--batch", self.batch >= 1),
            ("--accumulate", self.accumulate >= 1 and self.batch % self.accumulate == 0),
            ("--learning-rate", self.learning_rate > 0),
            ("--scales", 0 < self.scales[0] <= self.scales[1]),
            ("--ema", self.ema is None or 0 < self.ema < 1),
        ):
            if not fits:
                value = getattr(self, option.removeprefix("--").replace("-", "_"))
                more = f"; a batch of {self.batch} must be a multiple of it" if option == "--accumulate" else ""
                raise ContractError(f"{option} {value} cannot be trained with: pass another{more}")


def counted(number: float, what: str) -> str:
    """A number of things in words: "1 minute", "2.5 minutes", "160000 steps"."""
    return f"{number:.10g} {what}{'' if number == 1 else 's'}"


PAPER = Recipe()

FROM_RANDOM = Recipe(
    learning_rate=6e-4,
    head_factor=1.0,
    warm_up=0.05,
    power=0.9,
    clip=1.0,
    class_weights="sqrt",
    ema=0.99,
)
"""From random weights there is nothing to be careful with: ten times the rate, for the whole network, and a longer
warm-up, which the first norms need."""
