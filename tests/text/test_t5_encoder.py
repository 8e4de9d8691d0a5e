"""T5's encoder against transformers, on random weights."""

import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402
from text_probe import probe  # noqa: E402

SHAPE = {"vocab_size": 99, "d_model": 48, "d_kv": 8, "num_heads": 4, "d_ff": 96, "num_layers": 3}
# float32 over three layers; a shifted bucket, scaled scores or the exact GELU are off by 1e-3 and more.
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = transformers.T5Config(**SHAPE, feed_forward_proj="gated-gelu", tie_word_embeddings=False, dropout_rate=0)
    out = transformers.T5EncoderModel(config).eval()
    for name, parameter in out.named_parameters():  # of a size at which attention is neither flat nor one-hot
        torch.nn.init.normal_(parameter, std=0.7 if "relative" in name or parameter.dim() < 2 else 0.8 / parameter.shape[-1] ** 0.5)
    return out


def ours(tmp_path, state, tokens, code=0):
    save_file({name: value.contiguous() for name, value in state.items()}, tmp_path / "model.safetensors")
    save_file({"tokens": tokens}, tmp_path / "in.safetensors")
    said = probe("t5-encoder", tmp_path / "model.safetensors", tmp_path / "in.safetensors", tmp_path / "out.safetensors", code=code)
    return said if code else load_file(tmp_path / "out.safetensors")["last"]


def state_of(model, embeddings=("shared.weight",)):
    state = {name: value for name, value in model.state_dict().items() if name not in ("shared.weight", "encoder.embed_tokens.weight")}
    return state | {name: model.shared.weight.detach().clone() for name in embeddings}


@pytest.mark.parametrize("length", [1, 7, 300])  # 300: behind the farthest bucket
def test_the_last_hidden_state_is_transformers(tmp_path, model, length):
    """Catches: wrong buckets, a bias of one layer alone, scaled scores, another GELU, the gate and the value exchanged, a mask over padding."""
    tokens = torch.randint(0, SHAPE["vocab_size"], (2, length))
    tokens[1, length // 2 :] = 0
    with torch.no_grad():
        wanted = model(tokens).last_hidden_state
    torch.testing.assert_close(ours(tmp_path, state_of(model), tokens), wanted, **CLOSE)


@pytest.mark.parametrize("embeddings", [("encoder.embed_tokens.weight",), ("shared.weight", "encoder.embed_tokens.weight")])
def test_either_name_of_the_embedding_or_both(tmp_path, model, embeddings):
    tokens = torch.arange(9)[None]
    with torch.no_grad():
        wanted = model(tokens).last_hidden_state
    torch.testing.assert_close(ours(tmp_path, state_of(model, embeddings), tokens), wanted, **CLOSE)


def test_half_precision_files_are_computed_in_float32(tmp_path, model):
    """Catches: infinities behind `wo`."""
    tokens = torch.arange(9)[None]
    state = {name: value.half() for name, value in state_of(model).items()}
    wide = transformers.T5EncoderModel(model.config).eval()
    wide.load_state_dict({name: value.float() for name, value in state.items()} | {"encoder.embed_tokens.weight": state["shared.weight"].float()})
    with torch.no_grad():
        torch.testing.assert_close(ours(tmp_path, state, tokens), wide(tokens).last_hidden_state, **CLOSE)


def test_another_file_is_refused(tmp_path, model):
    state, tokens = state_of(model), torch.arange(9)[None]
    lacking = {name: value for name, value in state.items() if "block.1.layer.1.DenseReluDense.wo" not in name}
    assert "block.1.layer.1.DenseReluDense.wo" in ours(tmp_path, lacking, tokens, code=2)
    assert "encoder.new" in ours(tmp_path, state | {"encoder.new": torch.zeros(1)}, tokens, code=2)
    assert "T5 v1.1" in ours(tmp_path, {"a": torch.zeros(1)}, tokens, code=2)
