"""What this machine trains on, and in which precision it pays to."""

from __future__ import annotations

from segexport import machine
from segexport.errors import EngineUnavailable
from segexport.finetuning.recipe import Autocast


def on_gpu() -> bool:
    """Whether training runs on a GPU here."""
    import torch

    found: bool = torch.cuda.is_available()
    return found


def choose_autocast(asked: Autocast) -> Autocast:
    """`auto` as what it means here: bf16 where the hardware computes in it, else fp16 on a GPU, else off.

    Raises:
        EngineUnavailable: a precision asked for that this machine does not compute in.
    """
    import torch

    gpu = on_gpu()
    bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if gpu else bool(machine.bf16_instructions())
    if asked == "auto":
        return "bf16" if bf16 else "fp16" if gpu else "off"
    if asked == "bf16" and not bf16:
        raise EngineUnavailable(
            "this machine does not compute in bf16, which would only be slower: pass --autocast off"
        )
    if asked == "fp16" and not gpu:
        raise EngineUnavailable("fp16 training needs a GPU: pass --autocast auto")
    return asked
