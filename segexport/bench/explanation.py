"""What `segexport bench --explain` found, as data: where bundles differ from one in fp32, and on what."""

from __future__ import annotations

from dataclasses import dataclass

from segexport.evaluation.bootstrap import Interval


@dataclass(frozen=True)
class PointNoise:
    """What one point of the network holds beside the baseline, over all images; see `segexport.bench.noise`.

    `cosine` is the similarity of the two as one long vector each, `max_error` the largest difference, `sqnr_db` the
    baseline's power over that of the difference in dB, None where there is no difference. `not_finite` counts numbers
    that are NaN or infinite in either; where there are any, the other figures are None.
    """

    point: str
    cosine: float | None
    max_error: float | None
    sqnr_db: float | None
    not_finite: int = 0

    @property
    def exact(self) -> bool:
        """Whether no number differs."""
        return self.not_finite == 0 and self.max_error == 0


@dataclass(frozen=True)
class ImageChange:
    """An image, the share of its pixels that got another class (1 for a classifier's), and how its own mIoU changed.

    `miou_change` is a fraction; None where it was not scored.
    """

    name: str
    changed: float
    miou_change: float | None


@dataclass(frozen=True)
class ClassChange:
    """A class: how its IoU changed, and the share of what the baseline gave that class and this bundle another.

    `became` is the class that most of those pixels (images, for a classifier) got, `became_share` their share of all
    that the baseline gave the class. None: not scored, nothing changed, or a class that the baseline never gave.
    """

    name: str
    iou_change: Interval | None
    changed: float | None
    became: str | None
    became_share: float | None


@dataclass(frozen=True)
class Explained:
    """One bundle beside the baseline: points in the network's order, and the images and classes that changed most."""

    name: str
    points: tuple[PointNoise, ...]
    verdict: str
    images: tuple[ImageChange, ...]
    classes: tuple[ClassChange, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """Every other bundle of a run beside its baseline, whose name this holds, on so many images."""

    baseline: str
    images: int
    bundles: tuple[Explained, ...]
