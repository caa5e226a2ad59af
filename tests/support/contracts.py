"""The contracts that tests put a network behind, each written once; a test picks by name, and may say another size."""

from __future__ import annotations

from typing import Any

from segexport.spec import DYNAMIC, Size

Options = dict[str, Any]
"""Keyword arguments of `segexport.build` and `segexport.export`."""

SEGMENTATION: dict[str, Options] = {
    "mask": {"size": (128, 160)},
    "512x512": {"size": (512, 512)},
    "360x480": {"size": (360, 480)},
    "1024x512": {"size": (1024, 512)},
    "batch 3": {"size": (128, 160), "batch": 3},
    "dynamic batch": {"size": (128, 160), "batch": DYNAMIC},
    "odd size": {"size": (97, 131)},
    "bgr": {"size": (96, 128), "channel_order": "bgr"},
    "scores": {"size": (96, 128), "output": "scores"},
    "scores of a dynamic batch": {"size": (96, 128), "output": "scores", "batch": DYNAMIC},
    "logits": {"size": (97, 131), "output": "logits"},
    "logits at the network's size": {"size": (97, 131), "output": "logits", "mask_size": "network"},
    "logits of two images in bgr": {
        "size": (96, 128),
        "output": "logits",
        "mask_size": "network",
        "batch": 2,
        "channel_order": "bgr",
    },
    "mask at the network's size": {"size": (96, 128), "mask_size": "network"},
    "mask of another size": {"size": (96, 128), "mask_size": (150, 77)},
    "camera": {"size": (96, 128), "source_size": (135, 240)},
    "camera, dynamic bgr": {"size": (96, 128), "source_size": (240, 135), "batch": DYNAMIC, "channel_order": "bgr"},
    "shortest edge": {"size": (64, 64), "source_size": (135, 240), "resize_mode": "shortest-edge"},
    "letterbox": {"size": (96, 128), "source_size": (135, 240), "resize_mode": "letterbox"},
    "letterbox, dynamic bgr": {
        "size": (97, 131),
        "source_size": (240, 135),
        "resize_mode": "letterbox",
        "batch": DYNAMIC,
        "channel_order": "bgr",
    },
    "logits of a letterbox": {
        "size": (97, 131),
        "source_size": (135, 240),
        "resize_mode": "letterbox",
        "output": "logits",
        "mask_size": "network",
    },
    "without rewrites": {"size": (128, 160), "rewrites": False},
}
CLASSIFIER = "classifier"
CONTRACTS: dict[str, Options] = {**SEGMENTATION, CLASSIFIER: {"size": (64, 96)}}


def pick(*names: str, size: Size | None = None) -> dict[str, Options]:
    """The named contracts, all for networks of `size` where it is given."""
    return {name: {**CONTRACTS[name], **({"size": size} if size else {})} for name in names}
