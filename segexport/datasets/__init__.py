"""Labelled images, in the layouts people keep them in."""

from segexport.datasets.base import LabelledImages, Sample, Subset
from segexport.datasets.opening import open_data

__all__ = ["LabelledImages", "Sample", "Subset", "open_data"]
