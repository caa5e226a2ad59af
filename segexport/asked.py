"""What a build is asked for, refused where it cannot be, before anything heavy is imported or done for it."""

from __future__ import annotations

from typing import get_args

from segexport.errors import ContractError, PrecisionError
from segexport.spec import Precision

PRECISIONS: tuple[Precision, ...] = get_args(Precision)


def require_precision(precision: str, calibration: object, has_ranges: bool = False) -> None:
    """Refuse what cannot be built before any work is done for it.

    Raises:
        ContractError: no such precision.
        PrecisionError: int8 without images to calibrate on.
    """
    if precision not in PRECISIONS:
        raise ContractError(f"precision {precision} cannot be built: pass --precision {' or '.join(PRECISIONS)}")
    if precision == "int8" and calibration is None and not has_ranges:
        raise PrecisionError(
            "int8 needs the ranges of activations on your images: pass --calibration with a folder of them, or with a "
            "table of segexport calibrate"
        )
