"""Which GPUs a plan of TensorRT for RTX is for, by compute capability or by the name of a series.

Source: NVIDIA's list of CUDA GPUs and compute capabilities; which of them TensorRT for RTX compiles for is what its
`ComputeCapability` names.
"""

from __future__ import annotations

from segexport.errors import ContractError

CAPABILITIES = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")
"""What TensorRT for RTX 1.7 can be asked for; other versions may know others, and refuse these."""

SERIES: dict[str, tuple[str, ...]] = {
    "turing": ("sm75",),
    "rtx20": ("sm75",),
    "ampere": ("sm80", "sm86"),
    "rtx30": ("sm86",),
    "ada": ("sm89",),
    "rtx40": ("sm89",),
    "blackwell": ("sm120",),
    "rtx50": ("sm120",),
}
"""Series by the names they are sold under, and NVIDIA's names of their architectures."""

TURING = "sm75"


def parse_targets(text: str) -> tuple[str, ...]:
    """Read `sm86,rtx40` as compute capabilities, each once, in rising order.

    Raises:
        ContractError: an unknown name; or Turing beside others, who would all get its slower program.
    """
    found: set[str] = set()
    for name in (part.strip().lower() for part in text.split(",")):
        plain = name.replace(".", "").removeprefix("sm_").removeprefix("sm")
        if name in SERIES:
            found.update(SERIES[name])
        elif f"sm{plain}" in CAPABILITIES:
            found.add(f"sm{plain}")
        else:
            raise ContractError(
                f"'{name}' is no target of TensorRT for RTX: pass --target with some of "
                f"{', '.join((*CAPABILITIES, *SERIES))}"
            )
    if TURING in found and len(found) > 1:
        raise ContractError(
            f"{TURING} (Turing) beside other targets would give all of them its slower program: build it apart"
        )
    return tuple(sorted(found, key=lambda one: int(one[2:])))
