"""The commuted head is the same function: outputs, gradients and statistics."""

import copy

import pytest

from tests.support.training import CONFIG

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from segexport.finetuning.head import commute  # noqa: E402


def networks(**changes):
    """The same network twice, dropout off; the second one's head is commuted."""
    torch.manual_seed(0)
    options = {**CONFIG, "num_labels": 5, "drop_path_rate": 0.0, "classifier_dropout_prob": 0.0, **changes}
    options = {k: v for k, v in options.items() if k not in ("model_type", "architectures")}
    plain = transformers.SegformerForSemanticSegmentation(transformers.SegformerConfig(**options))
    ours = copy.deepcopy(plain)
    commute(ours)
    return plain, ours


@pytest.mark.parametrize("size", [(64, 96), (65, 43)])
@pytest.mark.parametrize("training", [True, False])
def test_same_logits_gradients_and_statistics(size, training):
    plain, ours = networks()
    image = torch.randn(3, 3, *size)
    found = []
    for network in (plain, ours):
        network.train(training)
        logits = network(pixel_values=image).logits
        (logits * torch.linspace(-1, 1, logits.numel()).reshape(logits.shape)).sum().backward()
        found.append(logits)
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-5)
    for (name, mine), theirs in zip(ours.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, atol=2e-4, rtol=1e-4, msg=name)
    for mine, theirs in zip(ours.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5)


def test_names_and_saved_files_stay(tmp_path):
    plain, ours = networks()
    assert list(ours.state_dict()) == list(plain.state_dict())
    ours.save_pretrained(tmp_path)
    again = transformers.SegformerForSemanticSegmentation.from_pretrained(tmp_path).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(pixel_values=image).logits, plain.eval()(pixel_values=image).logits)


def test_products_of_weights_stay_in_fp32_under_autocast():
    _, ours = networks()
    seen = []
    ours.decode_head.batch_norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        reduced = ours.eval()(pixel_values=image).logits.float()
    with torch.no_grad():
        exact = ours(pixel_values=image).logits
    # bf16 has 8 bits; weights multiplied in bf16 as well would double the error.
    assert (reduced - exact).abs().max() < 0.02 * exact.abs().max()


def test_another_head_is_refused():
    _, ours = networks()
    ours.decode_head = torch.nn.Identity()
    with pytest.raises(TypeError, match="not the head"):
        commute(ours)
