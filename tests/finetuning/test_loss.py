"""The loss is torch's cross entropy of upsampled logits, its gradient too; OHEM is mmsegmentation's."""

import pytest

torch = pytest.importorskip("torch")
functional = torch.nn.functional

from segexport.finetuning import loss as loss_module  # noqa: E402
from segexport.finetuning.loss import segmentation_loss  # noqa: E402

CASES = [(2, 5, (8, 12), (32, 48)), (1, 70, (5, 7), (17, 27)), (3, 11, (6, 6), (24, 24))]


def batch(images, classes, small, large, ignored=0.3):
    generator = torch.Generator().manual_seed(1)
    logits = (3 * torch.randn(images, classes, *small, generator=generator)).requires_grad_()
    labels = torch.randint(0, classes, (images, *large), generator=generator)
    labels[torch.rand(labels.shape, generator=generator) < ignored] = 255
    return logits, labels


def obvious(logits, labels, weights=None):
    full = functional.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
    return functional.cross_entropy(full, labels, weights, ignore_index=255)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("weighed", [False, True])
def test_equals_torch(case, weighed):
    logits, labels = batch(*case)
    weights = torch.linspace(0.5, 2, case[1]) if weighed else None
    expected = obvious(logits, labels, weights)
    (gradient,) = torch.autograd.grad(expected, logits)
    found = segmentation_loss(logits, labels, weights)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(torch.autograd.grad(3 * found, logits)[0], 3 * gradient, atol=1e-7, rtol=1e-4)


@pytest.mark.parametrize("ohem", [False, True])
def test_nothing_labelled_is_no_loss_and_no_gradient(ohem):
    logits, labels = batch(*CASES[0])
    labels[:] = 255
    found = segmentation_loss(logits, labels, ohem=ohem)
    assert found.item() == 0
    assert not torch.autograd.grad(found, logits)[0].any()


def test_one_image_without_labels_leaves_the_others_alone():
    logits, labels = batch(*CASES[0])
    labels[0] = 255
    torch.testing.assert_close(segmentation_loss(logits, labels), obvious(logits[1:], labels[1:]))


@torch.no_grad()
def mmseg_ohem(logits, labels, thresh, min_kept):
    """OHEMPixelSampler.sample of mmsegmentation 1.x, with its thresh: which pixels count."""
    full = functional.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
    valid = labels != 255
    probability = full.softmax(1).gather(1, labels.clamp(max=full.shape[1] - 1)[:, None])[:, 0]
    ordered = probability[valid].sort().values
    least = ordered[min(min_kept * len(labels), len(ordered) - 1)] if len(ordered) else 0.0
    return valid & (probability < max(float(least), thresh))


@pytest.mark.parametrize("least", [10, 400, 10**6])
def test_ohem_counts_hard_pixels(least, monkeypatch):
    monkeypatch.setattr(loss_module, "LEAST_HARD", least)
    logits, labels = batch(2, 4, (8, 8), (32, 32))
    hard = mmseg_ohem(logits, labels, loss_module.HARD, least)
    found = segmentation_loss(logits, labels, ohem=True)
    expected = obvious(logits, torch.where(hard, labels, 255))
    # Its bound is the first pixel that does not count, ours the last that does: one pixel of difference at most.
    torch.testing.assert_close(found, expected, atol=3e-3, rtol=3e-3)
    if least < 400:
        assert found > obvious(logits, labels)
