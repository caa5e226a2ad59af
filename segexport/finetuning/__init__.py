"""Training SegFormer: the demo's small network from random weights, and recipes for one's own data."""
