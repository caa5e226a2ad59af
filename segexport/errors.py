"""The errors segexport raises, each with what to do next.

    SegexportError
      CheckpointError      not found, hub unreachable, not a SegFormer, head does not fit the labels
      ContractError        size, layout, dtype or label count that cannot be served
      UnsupportedOnTarget  a graph that this TensorRT cannot take: names node, rule, remedy
      EngineUnavailable    package or device missing: names the install command
      EngineMismatch       an engine built for another GPU, system or version: names both sides
      DataError            an image, mask or ONNX file that cannot be used: names file and value
      PrecisionError       weights, ranges or a placement that a lower precision cannot be made of: names the layer
      BundleCorrupt        a bundle that is not what was built: names the file
      SelftestFailed       an engine that does not reproduce the bundle's golden result
      OutputError          a place that cannot be written: exists already, disk full

An error's text is one line: what is wrong, then the remedy. The command line prints it and exits with 2.
"""

from __future__ import annotations


class SegexportError(Exception):
    """Base of every error segexport raises on purpose."""


class CheckpointError(SegexportError):
    """The checkpoint cannot be found, read, or is not what was asked for."""


class ContractError(SegexportError):
    """The image or mask contract asked for cannot be served."""


class UnsupportedOnTarget(SegexportError):
    """A graph, or a part of it, that the TensorRT it is meant for does not take."""


class EngineUnavailable(SegexportError):
    """The engine's package or device is missing on this machine."""


class EngineMismatch(SegexportError):
    """An engine that was built for another GPU, system or version than the one at hand."""


class DataError(SegexportError):
    """An image, mask, data folder or ONNX file that cannot be used."""


class PrecisionError(SegexportError):
    """Weights, activations, a calibration table or a placement that no graph of a lower precision can be made of."""


class BundleCorrupt(SegexportError):
    """A bundle whose files are not the ones that were built."""


class SelftestFailed(SegexportError):
    """The engine does not reproduce the bundle's golden result."""


class OutputError(SegexportError):
    """An output that cannot be written."""


class SegexportWarning(UserWarning):
    """Something worth knowing that does not stop the work; the command line prints each kind once."""
