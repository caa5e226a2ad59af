#!/usr/bin/env bash
# One expects that every LayerNorm of a SegFormer has the epsilon that config.json states: SegformerConfig has
# `layer_norm_eps`, 1e-6 by default, and writes it into every checkpoint.
#
# What really happens: no module reads it. Every LayerNorm has PyTorch's default of 1e-5, and logits are equal bit by
# bit whatever layer_norm_eps is. Whoever builds the network from config.json computes another function, and sees it
# only where variances are small: with patch embeddings scaled by 1e-3 the logits below differ by more than their
# standard deviation.
#
# Versions seen: transformers 4.57.6 and 5.23.0, torch 2.13.0, Python 3.11, x86-64 Linux.
#
# Output seen:
#
#     transformers 4.57.6, torch 2.13.0+cpu
#       SegformerConfig().layer_norm_eps is 1e-06
#       layer_norm_eps=0.001: the 19 LayerNorm modules have eps {1e-05}
#       layer_norm_eps=1e-06: the 19 LayerNorm modules have eps {1e-05}
#       layer_norm_eps=1e-12: the 19 LayerNorm modules have eps {1e-05}
#       the logits of the three are equal bit by bit: True
#       with the eps of config.json in every LayerNorm the logits differ by up to 2.02
#       (their standard deviation is 0.59)
#     transformers 5.23.0, torch 2.13.0+cpu
#       SegformerConfig().layer_norm_eps is 1e-06
#       layer_norm_eps=0.001: the 19 LayerNorm modules have eps {1e-05}
#       layer_norm_eps=1e-06: the 19 LayerNorm modules have eps {1e-05}
#       layer_norm_eps=1e-12: the 19 LayerNorm modules have eps {1e-05}
#       the logits of the three are equal bit by bit: True
#       with the eps of config.json in every LayerNorm the logits differ by up to 2.28
#       (their standard deviation is 0.92)
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python="$folder/venv/bin/python"
export HF_HOME="$folder" HF_HUB_OFFLINE=1
"$python" -m pip install --quiet torch==2.13.0

cat >"$folder/program.py" <<'PYTHON'
import sys

import torch
import transformers
from transformers import SegformerConfig, SegformerForSemanticSegmentation

SIZES = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 16, 24, 32],
    "num_attention_heads": [1, 2, 3, 4],
    "decoder_hidden_size": 16,
    "num_labels": 5,
}


def network(epsilon):
    """A tiny SegFormer whose patch embeddings give small variances; the same weights on every call."""
    model = SegformerForSemanticSegmentation(SegformerConfig(**SIZES, layer_norm_eps=epsilon)).eval()
    numbers = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=numbers) / parameter[0].numel() ** 0.5)
            if "patch_embeddings" in name and ".proj." in name:
                parameter.mul_(1e-3)
    return model


def norms(model):
    return [module for module in model.modules() if isinstance(module, torch.nn.LayerNorm)]


print(f"transformers {transformers.__version__}, torch {torch.__version__}")
print(f"  SegformerConfig().layer_norm_eps is {SegformerConfig().layer_norm_eps:g}")
image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
logits = {}
for epsilon in (1e-3, 1e-6, 1e-12):
    model = network(epsilon)
    with torch.no_grad():
        logits[epsilon] = model(image).logits
    found = {norm.eps for norm in norms(model)}
    print(f"  layer_norm_eps={epsilon:g}: the {len(norms(model))} LayerNorm modules have eps {found}")
    if found != {1e-5}:
        sys.exit("CHANGED: the LayerNorm modules no longer have PyTorch's default of 1e-5.")
equal = all(torch.equal(logits[1e-3], other) for other in logits.values())
print(f"  the logits of the three are equal bit by bit: {equal}")
if not equal:
    sys.exit("CHANGED: the logits depend on layer_norm_eps.")
model = network(1e-6)
for norm in norms(model):
    norm.eps = model.config.layer_norm_eps
with torch.no_grad():
    difference = (model(image).logits - logits[1e-6]).abs().max().item()
print(f"  with the eps of config.json in every LayerNorm the logits differ by up to {difference:.2f}")
print(f"  (their standard deviation is {logits[1e-6].std().item():.2f})")
if difference < 0.01:
    sys.exit("CHANGED: the eps of config.json no longer makes a difference.")
PYTHON

for version in 4.57.6 5.23.0; do
    "$python" -m pip install --quiet "transformers==$version"
    "$python" "$folder/program.py"
done
