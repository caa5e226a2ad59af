"""Labelled images, in the layouts people keep them in."""

from segexport.datasets.base import LabelledImages, Sample, Stored, StoredImages, Subset
from segexport.datasets.opening import open_data, splits_of

__all__ = ["LabelledImages", "Sample", "Stored", "StoredImages", "Subset", "open_data", "splits_of"]
