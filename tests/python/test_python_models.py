"""The module's models against diffusers and transformers, on random weights saved as those save them."""

import json

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
transformers = pytest.importorskip("transformers")

import generate_models  # noqa: E402
import test_autoencoders  # noqa: E402
import test_flux  # noqa: E402
import test_flux_files  # noqa: E402
from flux_files import to_bfl  # noqa: E402
from models_probe import relative_error  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

NAMES = {"pooled": "pooled_projections"}  # the probe's -> diffusers'


def named(inputs):
    return {NAMES.get(name, name): value for name, value in inputs.items()}


# Heads of 64, 128 and 32, guidance or none, 41 tokens of odd sizes, batch 2. Catches: arguments exchanged, a time of 0..1000, shapes taken for granted.
@pytest.mark.parametrize("case", test_flux.CASES)
@torch.no_grad()
def test_a_transformer_is_diffusers(tmp_path, resflow, case):
    model = test_flux.random_model(case)
    model.save_pretrained(tmp_path, max_shard_size="200KB")
    assert list(tmp_path.glob("*.index.json"))
    inputs = named(test_flux.random_input(model))
    expected = model(**inputs, return_dict=False)[0]
    loaded = resflow.load_transformer(tmp_path)
    found = loaded(**inputs)
    assert found.dtype == torch.float32 and not found.is_inference()
    assert relative_error(found, expected) <= 1e-4
    assert torch.equal(loaded(**inputs | {"txt_ids": inputs["txt_ids"][None], "img_ids": inputs["img_ids"][None].repeat(2, 1, 1)}), found)
    assert {name: model.config[name] for name in loaded.config if name in model.config} == loaded.config | {"axes_dims_rope": model.config.axes_dims_rope}


# Against float32 with the weights that bf16 leaves; activations are bf16 between the layers, norms, angles and embeddings float32.
@pytest.mark.parametrize("case", test_flux.CASES)
@torch.no_grad()
def test_a_transformer_in_bfloat16_stays_near(tmp_path, resflow, case):
    model = test_flux.random_model(case).bfloat16()
    model.save_pretrained(tmp_path)
    inputs = named(test_flux.random_input(model))
    found = resflow.load_transformer(tmp_path, dtype=torch.bfloat16)(**inputs)
    assert found.dtype == torch.bfloat16
    assert relative_error(found.float(), model.float()(**inputs, return_dict=False)[0]) <= 2e-2


model, inputs = test_flux_files.model, test_flux_files.inputs  # fixtures


@pytest.mark.parametrize("form", ["diffusers' file", "BFL's file", "all in one", "GGUF", "float8"])
def test_a_transformer_from_a_single_file(tmp_path, resflow, model, inputs, form):
    """Catches: a form that `resflow generate` reads and the module does not."""
    state, path = dict(model.state_dict()), tmp_path / "model.safetensors"
    if form == "diffusers' file":
        save_file(state, path)
    elif form == "BFL's file":
        save_file(to_bfl(state), path)
    elif form == "all in one":
        save_file({f"model.diffusion_model.{name}": value for name, value in to_bfl(state).items()} | {"vae.decoder.conv_in.weight": torch.zeros(3)}, path)
    elif form == "GGUF":
        path = tmp_path / "model.gguf"
        kind = test_flux_files.gguf.GGMLQuantizationType.Q8_0
        state = test_flux_files.from_bfl(test_flux_files.written_gguf(path, to_bfl(state), kind))
    else:
        tensors, metadata, meant = test_flux_files.float8(to_bfl(state), torch.float8_e4m3fn, "old")
        save_file(tensors, path, metadata)
        state = test_flux_files.from_bfl(meant)
    expected = test_flux_files.wanted(model, inputs, state)
    assert relative_error(resflow.load_transformer(path)(**named(inputs)), expected) <= 1e-4


def test_what_a_caller_did_wrong_is_told(tmp_path, resflow, model, inputs):
    model.save_pretrained(tmp_path)
    loaded, inputs = resflow.load_transformer(str(tmp_path)), named(inputs)
    for change, told in [
        ({"hidden_states": torch.zeros(2, 35, 31)}, ("hidden_states", "B L 32", "[2, 35, 31]")),
        ({"encoder_hidden_states": torch.zeros(1, 11, 64)}, ("encoder_hidden_states", "2 T 64", "[1, 11, 64]")),
        ({"img_ids": torch.zeros(34, 3)}, ("img_ids", "35 3", "[34, 3]")),
        ({"timestep": None}, ("timestep", "missing", "[2]")),
        ({"guidance": None}, ("guidance", "missing", "[2]")),
    ]:
        with pytest.raises(resflow.Error) as error:
            loaded(**inputs | change)
        assert isinstance(error.value, ValueError) and error.value.where == told[0] and error.value.wanted
        assert all(part in str(error.value) for part in told)
    with pytest.raises(resflow.Error, match="no such file or folder"):
        resflow.load_transformer(tmp_path / "nowhere")
    with pytest.raises(resflow.Error, match="number type"):
        resflow.load_transformer(tmp_path, dtype="float64")
    with pytest.raises(resflow.Error, match="device"):
        resflow.load_transformer(tmp_path, device="tpu")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"num_layers": 3}))
    with pytest.raises(resflow.Error, match="missing"):
        resflow.load_transformer(tmp_path)


def test_a_model_without_guidance_takes_none(tmp_path, resflow):
    model = test_flux.random_model("heads of 128, no guidance")
    model.save_pretrained(tmp_path)
    with pytest.raises(resflow.Error, match="takes no guidance"):
        resflow.load_transformer(tmp_path)(**named(test_flux.random_input(model)), guidance=torch.ones(2))


# Pictures -1..1 in and out. Catches: 0..1 taken for -1..1, latents that are neither shifted nor scaled, a sample for the mean.
@pytest.mark.parametrize("case", test_autoencoders.CASES)
@torch.no_grad()
def test_an_autoencoder_is_diffusers(tmp_path, resflow, case):
    model = test_autoencoders.random_model(case)
    model.save_pretrained(tmp_path)
    given = test_autoencoders.inputs_for(model)
    image, latent = given["image"] * 2 - 1, given["latent"]
    expected = test_autoencoders.theirs(model, given)
    loaded = resflow.load_autoencoder(tmp_path)
    assert (loaded.latent_channels, loaded.reduction) == (latent.shape[1], image.shape[3] // 7)
    assert relative_error(loaded.encode(image), expected["latent"]) <= 1e-4
    assert relative_error(loaded.decode(latent), expected["image"] * 2 - 1) <= 1e-4
    for method, wrong, told in [("encode", image[:, :2], "B 3 H W"), ("decode", latent[:, 1:], f"B {latent.shape[1]} h w")]:
        with pytest.raises(resflow.Error, match=told):
            getattr(loaded, method)(wrong)
    if loaded.reduction > 1:
        with pytest.raises(resflow.Error, match=f"multiples of {loaded.reduction}"):
            loaded.encode(image[..., 1:])


@torch.no_grad()
def test_an_autoencoder_in_bfloat16_stays_near(tmp_path, resflow):
    model = test_autoencoders.random_model("FLUX's form").bfloat16()
    model.save_pretrained(tmp_path)
    given = test_autoencoders.inputs_for(model)
    loaded = resflow.load_autoencoder(tmp_path, dtype="bfloat16")
    expected = test_autoencoders.theirs(model.float(), given)
    found = {"latent": loaded.encode(given["image"] * 2 - 1), "image": loaded.decode(given["latent"]) / 2 + 0.5}
    for name, tensor in found.items():
        assert tensor.dtype == torch.float32
        assert relative_error(tensor, expected[name]) <= 2e-2, name


# In bfloat16 against transformers' own bfloat16: at these widths both are up to 7e-2 from float32, and nearer to each other.
PROMPTS = ["a photograph of the red lighthouse", "old grey sea", ""]
T5_SHAPES = [
    dict(d_model=48, d_kv=8, num_heads=4, d_ff=96, num_layers=3),
    dict(d_model=32, d_kv=16, num_heads=3, d_ff=40, num_layers=1, relative_attention_num_buckets=16),
    dict(d_model=64, d_kv=64, num_heads=1, d_ff=128, num_layers=2),
]
CLIP_SHAPES = [
    dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=2, hidden_act="quick_gelu", eos_token_id=2),
    dict(hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=3, hidden_act="gelu", eos_token_id=2),
    dict(hidden_size=64, intermediate_size=256, num_hidden_layers=1, num_attention_heads=1, hidden_act="quick_gelu", eos_token_id=None),
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    return {"t5": (folder / "t5", generate_models.t5_tokenizer(folder / "t5")), "clip": (folder / "clip", generate_models.clip_tokenizer(folder / "clip"))}


def random_t5(tokenizer, shape):
    torch.manual_seed(7)
    config = transformers.T5Config(vocab_size=len(tokenizer), feed_forward_proj="gated-gelu", tie_word_embeddings=False, dropout_rate=0, **shape)
    return generate_models.randomise(transformers.T5EncoderModel(config))


def random_clip(tokenizer, shape):
    torch.manual_seed(8)
    special = {"bos_token_id": len(tokenizer) - 2, "pad_token_id": len(tokenizer) - 1}
    special["eos_token_id"] = shape["eos_token_id"] or len(tokenizer) - 1
    return generate_models.randomise(transformers.CLIPTextModel(transformers.CLIPTextConfig(vocab_size=len(tokenizer), **shape | special)))


@torch.no_grad()
def t5_of(model, tokenizer, length):
    return model(tokenizer(PROMPTS, padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids)[0]


@torch.no_grad()
def clip_of(model, tokenizer):
    out = model(tokenizer(PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids)
    return out.last_hidden_state, out.pooler_output


@pytest.mark.parametrize("shape", T5_SHAPES)
@pytest.mark.parametrize("dtype, close", [("float32", 1e-4), ("bfloat16", 2e-2)])
def test_t5_is_transformers(tmp_path, resflow, tokenizers, shape, dtype, close):
    """Catches: another length, a mask over the padding, the end left out, a configuration of one size taken for granted."""
    place, tokenizer = tokenizers["t5"]
    model = random_t5(tokenizer, shape).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path / "text_encoder_2")
    (tmp_path / "tokenizer_2").symlink_to(place)
    loaded = resflow.load_text_encoder(tmp_path / "text_encoder_2", dtype=dtype)
    tokens, pooled = loaded(PROMPTS, max_sequence_length=37)
    assert loaded.parts == ["t5"] and pooled is None and tokens.dtype == getattr(torch, dtype)
    assert relative_error(tokens.float(), t5_of(model, tokenizer, 37).float()) <= close
    assert loaded(PROMPTS[0])[0].shape == (1, 512, shape["d_model"])


@pytest.mark.parametrize("shape", CLIP_SHAPES)
@pytest.mark.parametrize("dtype, close", [("float32", 1e-4), ("bfloat16", 2e-2)])
def test_clip_is_transformers(tmp_path, resflow, tokenizers, shape, dtype, close):
    """Catches: the pooled output of another place, a projection that FLUX does not take."""
    place, tokenizer = tokenizers["clip"]
    model = random_clip(tokenizer, shape).to(getattr(torch, dtype))
    model.save_pretrained(tmp_path / "text_encoder")
    (tmp_path / "tokenizer").symlink_to(place)
    loaded = resflow.load_text_encoder(f"{tmp_path}/text_encoder/", dtype=dtype)
    assert loaded.parts == ["clip"]
    for found, expected in zip(loaded(PROMPTS), clip_of(model, tokenizer), strict=True):
        assert found.dtype == getattr(torch, dtype)
        assert relative_error(found.float(), expected.float()) <= close


def test_text_encoders_from_single_files_need_a_tokenizer(tmp_path, resflow, tokenizers):
    place, tokenizer = tokenizers["t5"]
    model = random_t5(tokenizer, T5_SHAPES[0])
    state = {name: value for name, value in model.state_dict().items() if name != "encoder.embed_tokens.weight"}
    save_file(state, tmp_path / "t5xxl.safetensors")
    with pytest.raises(resflow.Error) as error:
        resflow.load_text_encoder(tmp_path / "t5xxl.safetensors")
    assert "spiece.model" in error.value.wanted and "tokenizer=" in error.value.hint
    for named_tokenizer in (place, place / "spiece.model"):
        tokens, _ = resflow.load_text_encoder(tmp_path / "t5xxl.safetensors", tokenizer=named_tokenizer)(PROMPTS, 20)
        assert relative_error(tokens, t5_of(model, tokenizer, 20)) <= 1e-4
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(resflow.Error, match="no text encoder"):
        resflow.load_text_encoder(tmp_path / "other.safetensors", tokenizer=place)
    with pytest.raises(resflow.Error, match="no text"):
        resflow.load_text_encoder(tmp_path / "t5xxl.safetensors", tokenizer=place)([])


def test_a_pipelines_folder_has_every_part(tmp_path, resflow):
    """Catches: T5's pooled or CLIP's tokens where both are there; a part taken from another's folder."""
    parts = generate_models.parts(tmp_path)
    folder = generate_models.saved(diffusers.FluxPipeline(**parts), tmp_path / "model", tmp_path)
    text = resflow.load_text_encoder(folder)
    assert text.parts == ["t5", "clip"]
    tokens, pooled = text(PROMPTS, max_sequence_length=19)
    assert relative_error(tokens, t5_of(parts["text_encoder_2"], parts["tokenizer_2"], 19)) <= 1e-4
    assert relative_error(pooled, clip_of(parts["text_encoder"], parts["tokenizer"])[1]) <= 1e-4
    image = torch.rand(3, 3, 16, 32) * 2 - 1
    vae = parts["vae"]
    with torch.no_grad():
        latent = (vae.encode(image).latent_dist.mode() - vae.config.shift_factor) * vae.config.scaling_factor
    assert relative_error(resflow.load_autoencoder(folder).encode(image), latent) <= 1e-4
    given = {
        "hidden_states": torch.randn(3, 6, 16), "encoder_hidden_states": tokens, "pooled_projections": pooled, "timestep": torch.tensor([1.0, 0.5, 0.1]),
        "img_ids": torch.cartesian_prod(torch.zeros(1), torch.arange(2.0), torch.arange(3.0)), "txt_ids": torch.zeros(19, 3), "guidance": torch.full((3,), 3.5),
    }  # fmt: skip
    with torch.no_grad():
        expected = parts["transformer"](**given, return_dict=False)[0]
    assert relative_error(resflow.load_transformer(folder)(**given), expected) <= 1e-4
    (folder / "vae").rename(tmp_path / "vae")
    with pytest.raises(resflow.Error, match="has no vae"):
        resflow.load_autoencoder(folder)
