#!/usr/bin/env bash
# One expects that transformers 5 loads every SegFormer checkpoint that transformers 4.57 has saved.
#
# What really happens: 4.57.6 takes any number as an mlp_ratio, makes a layer of int(hidden_size * ratio) features,
# saves the checkpoint and loads it again. 5.23.0 checks the type when it reads config.json, allows whole numbers
# alone, and refuses the very same folder, although the shapes of its weights leave no doubt.
#
# Versions seen: transformers 4.57.6 with huggingface-hub 0.36.2, transformers 5.23.0 with huggingface-hub 2.4.0, torch
# 2.13.0, Python 3.11, x86-64 Linux.
#
# Output seen:
#
#     transformers 4.57.6 saves mlp_ratios [2.5, 1, 3, 4] and loads them again:
#       the first feed-forward layer has 20 = 2.5 * 8 features, the logits are equal: True
#     transformers 5.23.0 with huggingface-hub 2.4.0:
#       StrictDataclassFieldValidationError: Validation error for field 'mlp_ratios':
#         TypeError: Field 'mlp_ratios' with value [2.5, 1, 3, 4] doesn't match any type in (list[int], tuple[int,
#           ...]). Errors: Invalid item at index 0 in list 'mlp_ratios'; Field 'mlp_ratios' expected a tuple, got list
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python="$folder/venv/bin/python"
export HF_HOME="$folder" HF_HUB_OFFLINE=1
"$python" -m pip install --quiet torch==2.13.0

cat >"$folder/save.py" <<'PYTHON'
import sys

import torch
import transformers
from transformers import SegformerConfig, SegformerForSemanticSegmentation

torch.manual_seed(0)
config = SegformerConfig(
    depths=[1, 1, 1, 1],
    hidden_sizes=[8, 16, 24, 32],
    num_attention_heads=[1, 2, 3, 4],
    mlp_ratios=[2.5, 1, 3, 4],
    decoder_hidden_size=16,
    num_labels=5,
)
model = SegformerForSemanticSegmentation(config).eval()
model.save_pretrained(sys.argv[1])
again = SegformerForSemanticSegmentation.from_pretrained(sys.argv[1]).eval()
image = torch.randn(1, 3, 64, 64)
with torch.no_grad():
    equal = torch.equal(model(image).logits, again(image).logits)
width = again.segformer.encoder.block[0][0].mlp.dense1.out_features
print(f"transformers {transformers.__version__} saves mlp_ratios {again.config.mlp_ratios} and loads them again:")
print(f"  the first feed-forward layer has {width} = 2.5 * 8 features, the logits are equal: {equal}")
PYTHON

cat >"$folder/load.py" <<'PYTHON'
import sys
from importlib import metadata

import transformers
from transformers import SegformerForSemanticSegmentation

print(f"transformers {transformers.__version__} with huggingface-hub {metadata.version('huggingface-hub')}:")
try:
    SegformerForSemanticSegmentation.from_pretrained(sys.argv[1])
except Exception as error:
    print(f"  {type(error).__name__}: {error}")
    if type(error).__name__ != "StrictDataclassFieldValidationError":
        sys.exit("CHANGED: it is refused with another error.")
else:
    sys.exit("CHANGED: the folder loads.")
PYTHON

"$python" -m pip install --quiet transformers==4.57.6 huggingface-hub==0.36.2
"$python" "$folder/save.py" "$folder/checkpoint"
"$python" -m pip install --quiet transformers==5.23.0 huggingface-hub==2.4.0
"$python" "$folder/load.py" "$folder/checkpoint"
