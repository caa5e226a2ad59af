"""The two repositories' networks, written down plainly from their definitions: references for tests, slow and obvious.

Both run on the state dict itself, so that a wrong name is a KeyError. NVlabs/SegFormer `mix_transformer.py`,
`segformer_head.py`; mmsegmentation `mit.py`, `segformer_head.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

STRIDES = (4, 2, 2, 2)


def nvlabs(t: dict[str, Tensor], image: Tensor, heads: tuple[int, ...]) -> Tensor:
    """Logits [N, classes, H/4, W/4]."""
    planes, x = [], image
    for i in range(4):
        n = i + 1
        x = _conv(t, f"backbone.patch_embed{n}.proj", x, STRIDES[i])
        size = x.shape[2:]
        x = _norm(t, f"backbone.patch_embed{n}.norm", _tokens(x), 1e-5)
        for j in range(_count(t, f"backbone.block{n}.")):
            b = f"backbone.block{n}.{j}"
            y = _norm(t, f"{b}.norm1", x, 1e-6)
            kv = y
            if f"{b}.attn.sr.weight" in t:
                kv = _conv(t, f"{b}.attn.sr", _plane(y, size), t[f"{b}.attn.sr.weight"].shape[-1], pad=0)
                kv = _norm(t, f"{b}.attn.norm", _tokens(kv), 1e-5)
            k, v = _linear(t, f"{b}.attn.kv", kv).chunk(2, -1)
            x = x + _linear(t, f"{b}.attn.proj", _attention(_linear(t, f"{b}.attn.q", y), k, v, heads[i]))
            y = _linear(t, f"{b}.mlp.fc1", _norm(t, f"{b}.norm2", x, 1e-6))
            y = F.gelu(_depthwise(t, f"{b}.mlp.dwconv.dwconv", _plane(y, size)))
            x = x + _linear(t, f"{b}.mlp.fc2", _tokens(y))
        x = _plane(_norm(t, f"backbone.norm{n}", x, 1e-6), size)
        planes.append(x)
    size = planes[0].shape[2:]
    stages = [
        _plane(_linear(t, f"decode_head.linear_c{n}.proj", _tokens(p)), p.shape[2:]) for n, p in enumerate(planes, 1)
    ]
    fused = torch.cat([_up(stage, size) for stage in stages[::-1]], 1)
    fused = F.relu(
        _batch_norm(t, "decode_head.linear_fuse.bn", F.conv2d(fused, t["decode_head.linear_fuse.conv.weight"]))
    )
    return F.conv2d(fused, t["decode_head.linear_pred.weight"], t["decode_head.linear_pred.bias"])


def mmsegmentation(t: dict[str, Tensor], image: Tensor, heads: tuple[int, ...]) -> Tensor:
    """Logits [N, classes, H/4, W/4]."""
    planes, x = [], image
    for i in range(4):
        stage = f"backbone.layers.{i}"
        x = _conv(t, f"{stage}.0.projection", x, STRIDES[i])
        size = x.shape[2:]
        x = _norm(t, f"{stage}.0.norm", _tokens(x), 1e-6)
        for j in range(_count(t, f"{stage}.1.")):
            b = f"{stage}.1.{j}"
            y = _norm(t, f"{b}.norm1", x, 1e-6)
            kv = y
            if f"{b}.attn.sr.weight" in t:
                kv = _conv(t, f"{b}.attn.sr", _plane(y, size), t[f"{b}.attn.sr.weight"].shape[-1], pad=0)
                kv = _norm(t, f"{b}.attn.norm", _tokens(kv), 1e-6)
            attention = torch.nn.MultiheadAttention(x.shape[-1], heads[i], batch_first=True).eval()
            attention.load_state_dict(
                {k.removeprefix(f"{b}.attn.attn."): v for k, v in t.items() if k.startswith(f"{b}.attn.attn.")}
            )
            x = x + attention(y, kv, kv)[0]
            y = _conv(t, f"{b}.ffn.layers.0", _plane(_norm(t, f"{b}.norm2", x, 1e-6), size), 1)
            y = _conv(t, f"{b}.ffn.layers.4", F.gelu(_depthwise(t, f"{b}.ffn.layers.1", y)), 1)
            x = x + _tokens(y)
        x = _plane(_norm(t, f"{stage}.2", x, 1e-6), size)
        planes.append(x)
    size = planes[0].shape[2:]
    stages = []
    for i, plane in enumerate(planes):
        y = F.conv2d(plane, t[f"decode_head.convs.{i}.conv.weight"])
        stages.append(_up(F.relu(_batch_norm(t, f"decode_head.convs.{i}.bn", y)), size))
    fused = F.conv2d(torch.cat(stages, 1), t["decode_head.fusion_conv.conv.weight"])
    fused = F.relu(_batch_norm(t, "decode_head.fusion_conv.bn", fused))
    return F.conv2d(fused, t["decode_head.conv_seg.weight"], t["decode_head.conv_seg.bias"])


def _count(t, prefix: str) -> int:
    return 1 + max(int(name.removeprefix(prefix).partition(".")[0]) for name in t if name.startswith(prefix))


def _tokens(plane: Tensor) -> Tensor:
    return plane.flatten(2).transpose(1, 2)


def _plane(tokens: Tensor, size) -> Tensor:
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *size)


def _linear(t, name: str, x: Tensor) -> Tensor:
    return F.linear(x, t[f"{name}.weight"], t[f"{name}.bias"])


def _norm(t, name: str, x: Tensor, eps: float) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], t[f"{name}.weight"], t[f"{name}.bias"], eps)


def _conv(t, name: str, x: Tensor, stride: int, pad: int | None = None) -> Tensor:
    kernel = t[f"{name}.weight"]
    return F.conv2d(x, kernel, t[f"{name}.bias"], stride, kernel.shape[-1] // 2 if pad is None else pad)


def _depthwise(t, name: str, x: Tensor) -> Tensor:
    return F.conv2d(x, t[f"{name}.weight"], t[f"{name}.bias"], padding=1, groups=x.shape[1])


def _batch_norm(t, name: str, x: Tensor) -> Tensor:
    return F.batch_norm(x, *(t[f"{name}.{k}"] for k in ("running_mean", "running_var", "weight", "bias")), eps=1e-5)


def _up(x: Tensor, size) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def _attention(q: Tensor, k: Tensor, v: Tensor, heads: int) -> Tensor:
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    share = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1)
    return (share @ v).transpose(1, 2).flatten(2)
