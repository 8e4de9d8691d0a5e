"""CLIP's text tower against transformers, on random weights."""

import os

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402
from text_probe import probe  # noqa: E402

VOCABULARY, END = 99, 98
TEXT = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": VOCABULARY}
VISION = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16, "patch_size": 8}
# float32 over three layers; another activation or a shifted position is off by 1e-2 and more.
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


def random_clip(activation="quick_gelu", end_token=2, seed=0):
    torch.manual_seed(seed)
    text = {**TEXT, "hidden_act": activation, "eos_token_id": end_token, "bos_token_id": 0, "pad_token_id": 1}
    config = transformers.CLIPConfig(text_config=text, vision_config={**VISION, "hidden_act": activation}, projection_dim=48)
    model = transformers.CLIPModel(config).eval()
    for parameter in model.parameters():  # their own initial values are so small that mistakes would hide
        torch.nn.init.normal_(parameter, std=0.5 if parameter.dim() < 2 else 2 / parameter.shape[-1] ** 0.5)
    return model


def sentences():
    """Ends at different places, padded with the end token, which is the largest number."""
    torch.manual_seed(1)
    tokens = torch.randint(0, END, (3, 77))
    for row, length in enumerate((5, 40, 76)):
        tokens[row, length:] = END
    return tokens


def ours(tmp_path, model, tokens):
    save_file({"tokens": tokens}, tmp_path / "in.safetensors")
    probe("clip", model, tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    return load_file(tmp_path / "out.safetensors")


@torch.no_grad()
def check(found, model, tokens):
    theirs = model.text_model(tokens, output_hidden_states=True)
    torch.testing.assert_close(found["last"], theirs.last_hidden_state, **CLOSE)
    torch.testing.assert_close(found["pooled"], theirs.pooler_output, **CLOSE)
    assert len(theirs.hidden_states) == TEXT["num_hidden_layers"] + 1
    for i, hidden in enumerate(theirs.hidden_states):
        torch.testing.assert_close(found[f"hidden.{i}"], hidden, **CLOSE)


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
@pytest.mark.parametrize("end_token", [2, END])
def test_a_hugging_face_folder(tmp_path, activation, end_token):
    """Catches: QuickGELU for GELU, no causal mask, the final norm in the hidden states, the pooled output at the last token."""
    model = random_clip(activation, end_token)
    model.save_pretrained(tmp_path / "clip")
    found = ours(tmp_path, tmp_path / "clip", sentences())
    check(found, model, sentences())
    with torch.no_grad():
        theirs = model.get_text_features(sentences())
    torch.testing.assert_close(found["embedding"], getattr(theirs, "pooler_output", theirs), **CLOSE)


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_a_text_tower_alone(tmp_path, prefix):
    """FLUX's text_encoder folder, with and without the beginning that transformers 5 leaves out, and with old files' position_ids."""
    model = random_clip()
    (tmp_path / "clip").mkdir()
    model.text_model.config.save_pretrained(tmp_path / "clip")
    state = {prefix + name: tensor.contiguous() for name, tensor in model.text_model.state_dict().items()}
    state[prefix + "embeddings.position_ids"] = torch.arange(77).unsqueeze(0)
    save_file(state, tmp_path / "clip" / "model.safetensors")
    found = ours(tmp_path, tmp_path / "clip", sentences())
    check(found, model, sentences())
    assert "embedding" not in found


def openai_state(model):
    """A CLIPModel's text tower under OpenAI's names: queries, keys and values stacked, projections turned."""
    state = model.state_dict()
    out = {
        "token_embedding.weight": state["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": state["text_model.embeddings.position_embedding.weight"],
        "ln_final.weight": state["text_model.final_layer_norm.weight"],
        "ln_final.bias": state["text_model.final_layer_norm.bias"],
        "text_projection": state["text_projection.weight"].t().contiguous(),
        "logit_scale": state["logit_scale"],
        "context_length": torch.tensor(77),
    }
    names = {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for i in range(TEXT["num_hidden_layers"]):
        for kind in ("weight", "bias"):
            theirs, here = f"text_model.encoder.layers.{i}.", f"transformer.resblocks.{i}."
            out[f"{here}attn.in_proj_{kind}"] = torch.cat([state[f"{theirs}self_attn.{x}_proj.{kind}"] for x in "qkv"])
            for name, other in names.items():
                out[f"{here}{other}.{kind}"] = state[f"{theirs}{name}.{kind}"]
    return out


def test_openais_own_names(tmp_path):
    """Catches: queries, keys and values in another order, a projection that is not turned. 64 wide: one head, as OpenAI's files imply."""
    model = random_clip()
    model.text_model.config.num_attention_heads = 1
    for layer in model.text_model.encoder.layers:
        layer.self_attn.num_heads, layer.self_attn.head_dim, layer.self_attn.scale = 1, 64, 64**-0.5
    save_file(openai_state(model), tmp_path / "clip.safetensors")
    found = ours(tmp_path, tmp_path / "clip.safetensors", sentences())
    check(found, model, sentences())
    with torch.no_grad():
        theirs = model.get_text_features(sentences())
    torch.testing.assert_close(found["embedding"], getattr(theirs, "pooler_output", theirs), **CLOSE)


@pytest.mark.parametrize("change, told", [("missing", "is missing"), ("shape", "wrong shape"), ("extra", "no place")])
def test_a_file_that_does_not_fit_is_told(tmp_path, change, told):
    """Catches: weights that are silently left at nothing, or left out."""
    model = random_clip()
    model.save_pretrained(tmp_path / "clip")
    state = load_file(tmp_path / "clip" / "model.safetensors")
    name = "text_model.encoder.layers.1.layer_norm2.bias"
    if change == "missing":
        del state[name]
    elif change == "shape":
        state[name] = torch.zeros(7)
    else:
        state["text_model.extra.weight"] = torch.zeros(2)
    save_file(state, tmp_path / "clip" / "model.safetensors")
    save_file({"tokens": sentences()}, tmp_path / "in.safetensors")
    assert told in probe("clip", tmp_path / "clip", tmp_path / "in.safetensors", tmp_path / "out.safetensors", code=2)
