#!/usr/bin/env bash
# One expects that the initialisers of an exported graph that are named after parameters are those parameters, so that
# weights can be looked up, edited or quantised by name.
#
# What really happens: `program.optimize()`, which torch.onnx.export(dynamo=True) also runs by default (optimize=True),
# merges initialisers of equal type, shape and numbers, up to 1024 numbers each. One name is left, and stands for all
# of them. A network with fresh biases (all zero) and norms (all one) has nodes that read another layer's parameter.
# Trained weights show it only where parameters happen to be equal. 30 more names vanish in either case: those of the
# Linear weights, which are transposed.
#
# Versions seen: torch 2.13.0, onnxscript 0.7.2, onnx-ir 1.1.0, onnx 1.23.2, transformers 5.23.0, Python 3.11, x86-64
# Linux.
#
# Output seen:
#
#     torch 2.13.0+cpu
#     onnxscript 0.7.2
#     onnx-ir 1.1.0
#     transformers 5.23.0
#     unequal parameters: 121 of 121 names are in the graph that
#       torch.onnx.export(optimize=False) gives, 91 after program.optimize()
#       0 LayerNormalization nodes read a parameter named after another module
#     fresh parameters: 121 of 121 names are in the graph that
#       torch.onnx.export(optimize=False) gives, 24 after program.optimize()
#       16 LayerNormalization nodes read a parameter named after another module
#     67 names have vanished because another parameter has equal numbers.
#     The bias of segformer.stages.3.layer_norm is called
#       segformer.stages.0.blocks.0.mlp.fc1.bias.
#     Whoever edits that initialiser edits 10 nodes, which come from these modules:
#       segformer.stages.0.blocks.0.mlp.fc1
#       segformer.stages.3.patch_embeddings.layer_norm
#       segformer.stages.3.blocks.0.layernorm_before
#       segformer.stages.3.blocks.0.attention.q_proj
#       segformer.stages.3.blocks.0.attention.k_proj
#       segformer.stages.3.blocks.0.attention.v_proj
#       segformer.stages.3.blocks.0.attention.o_proj
#       segformer.stages.3.blocks.0.layernorm_after
#       segformer.stages.3.blocks.0.mlp.fc2
#       segformer.stages.3.layer_norm
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
python="$folder/venv/bin/python"
export HF_HOME="$folder" HF_HUB_OFFLINE=1
"$python" -m pip install --quiet torch==2.13.0
"$python" -m pip install --quiet transformers==5.23.0 onnxscript==0.7.2 onnx==1.23.2 onnx-ir==1.1.0

cat >"$folder/program.py" <<'PYTHON'
import ast
import contextlib
import io
import logging
import sys
import warnings
from importlib import metadata

import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation

logging.disable(logging.WARNING)
warnings.simplefilter("ignore")
SIZES = {
    "depths": [1, 1, 1, 1],
    "hidden_sizes": [8, 16, 24, 32],
    "num_attention_heads": [1, 2, 3, 4],
    "decoder_hidden_size": 16,
    "num_labels": 5,
}


def exported(fresh):
    """A tiny SegFormer's graph and the names of its parameters; without `fresh` no two parameters are equal."""
    torch.manual_seed(0)
    model = SegformerForSemanticSegmentation(SegformerConfig(**SIZES)).eval()
    if not fresh:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn_like(parameter))
    with contextlib.redirect_stdout(io.StringIO()):
        program = torch.onnx.export(model, (torch.randn(1, 3, 64, 64),), dynamo=True, verbose=False, optimize=False)
    names = {name for name, _ in model.named_parameters()}
    before = names & set(program.model.graph.initializers)
    program.optimize()
    after = names & set(program.model.graph.initializers)
    print(f"{'fresh' if fresh else 'unequal'} parameters: {len(before)} of {len(names)} names are in the graph that")
    print(f"  torch.onnx.export(optimize=False) gives, {len(after)} after program.optimize()")
    return program.model.graph, names, after


def module(node):
    """The module that a node comes from, as the exporter notes it."""
    return ast.literal_eval(node.metadata_props["pkg.torch.onnx.name_scopes"])[-2]


def borrows(node):
    """Whether a LayerNormalization reads a parameter that is named after another module."""
    own = [f"{module(node)}.{kind}" for kind in ("weight", "bias")]
    return [value.name for value in node.inputs[1:]] != own


for package in ("torch", "onnxscript", "onnx-ir", "transformers"):
    print(package, metadata.version(package))
graph, names, unequal = exported(fresh=False)
strangers = 0
for node in graph:
    if node.op_type == "LayerNormalization":
        strangers += borrows(node)
print(f"  {strangers} LayerNormalization nodes read a parameter named after another module")
if strangers:
    sys.exit("CHANGED: also a network of unequal parameters has names that stand for others.")

graph, names, fresh = exported(fresh=True)
strangers, readers, last = 0, {}, None
for node in graph:
    for value in node.inputs:
        if value is not None and value.name in names:
            readers.setdefault(value.name, []).append(module(node))
    if node.op_type == "LayerNormalization":
        strangers += borrows(node)
        last = node
print(f"  {strangers} LayerNormalization nodes read a parameter named after another module")
print(f"{len(unequal - fresh)} names have vanished because another parameter has equal numbers.")
if not strangers or len(fresh) >= len(unequal):
    sys.exit("CHANGED: equal parameters keep names of their own.")
bias = last.inputs[2].name
print(f"The bias of {module(last)} is called\n  {bias}.")
print(f"Whoever edits that initialiser edits {len(readers[bias])} nodes, which come from these modules:")
for reader in readers[bias]:
    print(f"  {reader}")
PYTHON
"$python" "$folder/program.py"
