"""Text encoders from the files that people have: GGUF under llama.cpp's names, and parts of all-in-one files."""

import os

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
gguf = pytest.importorskip("gguf")

from safetensors.torch import load_file, save_file  # noqa: E402
from text_probe import probe  # noqa: E402

CLOSE = {"rtol": 1e-4, "atol": 2e-5}
TOKENS = torch.tensor([[5, 9, 3, 1, 0, 0, 0], [7, 1, 0, 0, 0, 0, 0]])
# llama.cpp, gguf-py/gguf/tensor_mapping.py
LLAMA = {
    "layer.0.SelfAttention.q": "attn_q", "layer.0.SelfAttention.k": "attn_k", "layer.0.SelfAttention.v": "attn_v", "layer.0.SelfAttention.o": "attn_o",
    "layer.0.SelfAttention.relative_attention_bias": "attn_rel_b", "layer.0.layer_norm": "attn_norm", "layer.1.DenseReluDense.wi_0": "ffn_gate",
    "layer.1.DenseReluDense.wi_1": "ffn_up", "layer.1.DenseReluDense.wo": "ffn_down", "layer.1.layer_norm": "ffn_norm",
}  # fmt: skip


@pytest.fixture(scope="module")
def t5():
    torch.manual_seed(0)
    shape = {"vocab_size": 99, "d_model": 64, "d_kv": 16, "num_heads": 4, "d_ff": 96, "num_layers": 3}
    out = transformers.T5EncoderModel(transformers.T5Config(**shape, feed_forward_proj="gated-gelu", tie_word_embeddings=False, dropout_rate=0)).eval()
    for name, parameter in out.named_parameters():
        torch.nn.init.normal_(parameter, std=0.7 if "relative" in name or parameter.dim() < 2 else 0.8 / parameter.shape[-1] ** 0.5)
    return out


def state_of(model):
    return {name: value for name, value in model.state_dict().items() if name != "encoder.embed_tokens.weight"}


@torch.no_grad()
def expected(model, state):
    other = transformers.T5EncoderModel(model.config).eval()
    other.load_state_dict(state | {"encoder.embed_tokens.weight": state["shared.weight"]})
    return other(TOKENS).last_hidden_state


def found(folder, path):
    save_file({"tokens": TOKENS}, folder / "in.safetensors")
    probe("t5-encoder", path, folder / "in.safetensors", folder / "out.safetensors")
    return load_file(folder / "out.safetensors")["last"]


def llama_name(name):
    if name == "shared.weight":
        return "token_embd.weight"
    if name == "encoder.final_layer_norm.weight":
        return "enc.output_norm.weight"
    _, _, number, rest = name.split(".", 3)
    return f"enc.blk.{number}.{LLAMA[rest.removesuffix('.weight')]}.weight"


# Catches: gate and value exchanged, an embedding that is dequantised whole or wrongly by rows, types that do not mix.
@pytest.mark.parametrize("kind", ["F32", "F16", "BF16", "Q8_0", "Q4_1"])
def test_t5_of_llama_cpp(tmp_path, t5, kind):
    writer, held = gguf.GGUFWriter(str(tmp_path / "t5.gguf"), "t5encoder"), {}
    for name, value in state_of(t5).items():
        use = gguf.GGMLQuantizationType.F32 if value.dim() < 2 or "relative" in name else gguf.GGMLQuantizationType[kind]
        raw = gguf.quants.quantize(value.numpy(), use)
        writer.add_tensor(llama_name(name), raw, raw_dtype=use)
        held[name] = torch.from_numpy(np.array(gguf.quants.dequantize(raw, use), np.float32)).reshape(value.shape)
    writer.add_tensor("dec.output_norm.weight", np.ones(64, np.float32))  # a whole T5 has a decoder
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    torch.testing.assert_close(found(tmp_path, tmp_path / "t5.gguf"), expected(t5, held), **CLOSE)


@pytest.mark.parametrize("form", ["plain", "scaled"])
def test_t5_in_float8_and_in_an_all_in_one_file(tmp_path, t5, form):
    """t5xxl_fp8_e4m3fn, and its scaled form within a file of everything."""
    prefix = "text_encoders.t5xxl.transformer." if form == "scaled" else ""
    tensors, held = {}, {}
    for name, value in state_of(t5).items():
        scale = value.abs().max() / 300 if form == "scaled" and value.dim() == 2 else torch.tensor(1.0)
        tensors[prefix + name] = (value / scale).to(torch.float8_e4m3fn)
        held[name] = tensors[prefix + name].float() * scale
        if form == "scaled" and value.dim() == 2:
            tensors[prefix + name.removesuffix("weight") + "scale_weight"] = scale.reshape(1)
    if form == "scaled":
        tensors |= {prefix + "scaled_fp8": torch.zeros(2, dtype=torch.float8_e4m3fn), "model.diffusion_model.img_in.weight": torch.zeros(2, 2)}
    save_file({name: value.contiguous() for name, value in tensors.items()}, tmp_path / "t5.safetensors")
    torch.testing.assert_close(found(tmp_path, tmp_path / "t5.safetensors"), expected(t5, held), **CLOSE)


def test_clip_in_an_all_in_one_file(tmp_path):
    """clip_l under its prefix, with the two tensors that some files carry and FLUX does not read."""
    torch.manual_seed(1)
    config = transformers.CLIPTextConfig(vocab_size=99, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=1, max_position_embeddings=11, eos_token_id=2)
    model = transformers.CLIPTextModel(config).eval()
    with torch.no_grad():
        wanted = model(TOKENS).last_hidden_state
    names = {name if name.startswith("text_model.") else f"text_model.{name}": value for name, value in model.state_dict().items()}
    state = {f"text_encoders.clip_l.transformer.{name}": value.contiguous() for name, value in names.items()}
    state["text_encoders.clip_l.transformer.text_projection.weight"] = torch.eye(64)
    state["text_encoders.clip_l.transformer.text_model.embeddings.position_ids"] = torch.arange(11)[None]
    save_file(state | {"vae.decoder.conv_in.bias": torch.zeros(2)}, tmp_path / "all.safetensors")
    save_file({"tokens": TOKENS}, tmp_path / "in.safetensors")
    probe("clip", tmp_path / "all.safetensors", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    torch.testing.assert_close(load_file(tmp_path / "out.safetensors")["last"], wanted, **CLOSE)
