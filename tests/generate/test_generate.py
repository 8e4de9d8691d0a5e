"""Text to image against diffusers' pipelines: whole models of small random parts, the same noise, float32."""

import json
import os
import shutil

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytest.importorskip("sentencepiece")

from flux_size import sparse_shards  # noqa: E402
from generate_models import (  # noqa: E402
    CLIP_WIDTH, CLOSE, T5_WIDTH, WORDS, difference, encoded, noise_for, options, ours, parts, photo, probe, randomise, saved, shows_something, theirs,
)  # fmt: skip
from safetensors.torch import save_file  # noqa: E402

LONG = " ".join([WORDS] * 5)  # more than CLIP's 77 tokens and than T5's below


@pytest.fixture(scope="session")
def dev(tmp_path_factory):
    """-> (pipeline, its folder)"""
    folder = tmp_path_factory.mktemp("dev")
    pipeline = diffusers.FluxPipeline(**parts(folder / "sources"))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, saved(pipeline, folder / "model", folder / "sources")


@pytest.fixture(scope="session")
def schnell(tmp_path_factory):
    folder = tmp_path_factory.mktemp("schnell")
    pipeline = diffusers.FluxPipeline(**parts(folder / "sources", guidance=False, scheduler={"shift": 1.0}))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, saved(pipeline, folder / "model", folder / "sources")


# Catches: the schedule's shift of another size, packed channels or ids in another order, text ids that are not 0, T5 without padding or with
# another length, CLIP's vector at another token, shift and scale of the latent left out, guidance not fed.
@pytest.mark.parametrize("width, height, steps, guidance, prompt", [
    (64, 64, 1, 3.5, WORDS), (96, 160, 4, 3.5, "the old lighthouse"), (176, 48, 7, 1.0, LONG), (128, 128, 4, 0.0, ""), (64, 96, 3, 10.0, "Überraschung — 灯台 🌊"),
])  # fmt: skip
def test_a_picture_is_diffusers(tmp_path, dev, width, height, steps, guidance, prompt):
    pipeline, folder = dev
    noise = noise_for(width, height)
    wanted = theirs(pipeline, prompt, noise, width, height, steps, guidance)
    assert shows_something(wanted)
    found = ours(tmp_path, folder, prompt, noise, options(width, height, steps, guidance))
    assert difference(found, wanted) < CLOSE


def test_everything_that_is_told_matters(tmp_path, dev):
    """What the comparison above can tell apart: each change moves the picture by far more than is allowed there."""
    _, folder = dev
    noise, usual = noise_for(64, 64), options(64, 64, 3, 3.5)
    base = ours(tmp_path, folder, WORDS, noise, usual)
    for changed in ({"guidance": 3.0}, {"steps": 4}, {"max_sequence_length": 41}, {"sampler": "heun"}):
        assert difference(ours(tmp_path, folder, WORDS, noise, usual | changed), base) > 4 * CLOSE, changed
    assert difference(ours(tmp_path, folder, WORDS.replace("dusk", "dawn"), noise, usual), base) > 4 * CLOSE
    assert difference(ours(tmp_path, folder, WORDS, noise * 1.01, usual), base) > 4 * CLOSE


@pytest.mark.parametrize("width, height, steps", [(64, 64, 4), (112, 80, 2)])
def test_a_model_without_guidance_and_with_a_fixed_shift_is_diffusers(tmp_path, schnell, width, height, steps):
    pipeline, folder = schnell
    noise = noise_for(width, height)
    wanted = theirs(pipeline, WORDS, noise, width, height, steps, 0.0)
    assert shows_something(wanted)
    for guidance in (0.0, 3.5):  # not fed
        assert difference(ours(tmp_path, folder, WORDS, noise, options(width, height, steps, guidance)), wanted) < CLOSE


def test_several_pictures_are_diffusers_batch(tmp_path, dev):
    pipeline, folder = dev
    noise = noise_for(64, 80, n=3)
    wanted = theirs(pipeline, WORDS, noise, 64, 80, 2, 3.5)
    assert difference(ours(tmp_path, folder, WORDS, noise, options(64, 80, 2, 3.5, n=3)), wanted) < CLOSE
    assert difference(wanted[:1], wanted[1:2]) > 4 * CLOSE


def test_t5s_512_tokens_are_the_default(tmp_path, dev):
    pipeline, folder = dev
    noise = noise_for(48, 48)
    wanted = theirs(pipeline, WORDS, noise, 48, 48, 1, 3.5, length=512)
    assert difference(ours(tmp_path, folder, WORDS, noise, {"width": 48, "height": 48, "steps": 1}), wanted) < CLOSE


def test_bfloat16_stays_near_float32(tmp_path, dev):
    """Not diffusers' casts (it rounds the latent, timestep and guidance too): near the same picture in float32. Catches a type that is not taken."""
    pipeline, folder = dev
    noise = noise_for(64, 64)
    wanted = theirs(pipeline, WORDS, noise, 64, 64, 4, 3.5)
    found = ours(tmp_path, folder, WORDS, noise, options(64, 64, 4, 3.5), settings={"dtype": "bf16"})
    assert 0 < difference(found, wanted) and float((found - wanted).abs().mean()) < 0.03


@pytest.mark.parametrize("size", ["40KB", "200KB"])
def test_shards_make_the_same_picture(tmp_path, dev, size):
    pipeline, folder = dev
    sources = folder.parent / "sources"
    sharded = saved(pipeline, tmp_path / "sharded", sources, max_shard_size=size)
    indices = sorted(str(path.relative_to(sharded)) for path in sharded.rglob("*.index.json"))
    assert "transformer/diffusion_pytorch_model.safetensors.index.json" in indices and (size == "200KB" or len(indices) >= 3), indices
    noise = noise_for(64, 64)
    one = ours(tmp_path, folder, WORDS, noise, options(64, 64, 2, 3.5))
    assert difference(ours(tmp_path, sharded, WORDS, noise, options(64, 64, 2, 3.5)), one) < 1e-5  # bytes at another alignment are multiplied in another order


def bfl_state(state, doubles, singles):
    """The transformer's tensors as Black Forest Labs store them."""
    joined = lambda *names: torch.cat([state[name] for name in names])  # noqa: E731
    top = {
        "img_in": "x_embedder", "txt_in": "context_embedder", "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
        "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2", "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
        "vector_in.out_layer": "time_text_embed.text_embedder.linear_2", "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
        "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2", "final_layer.linear": "proj_out",
    }  # fmt: skip
    out = {}
    for kind in ("weight", "bias"):
        out |= {f"{theirs}.{kind}": state[f"{ours}.{kind}"] for theirs, ours in top.items()}
        out[f"final_layer.adaLN_modulation.1.{kind}"] = torch.cat(state[f"norm_out.linear.{kind}"].chunk(2)[::-1])  # shift first
        for i in range(doubles):
            a, b = f"transformer_blocks.{i}.", f"double_blocks.{i}."
            out[f"{b}img_attn.qkv.{kind}"] = joined(*(f"{a}attn.to_{x}.{kind}" for x in "qkv"))
            out[f"{b}txt_attn.qkv.{kind}"] = joined(*(f"{a}attn.add_{x}_proj.{kind}" for x in "qkv"))
            for theirs, ours in {
                "img_mod.lin": "norm1.linear", "txt_mod.lin": "norm1_context.linear", "img_attn.proj": "attn.to_out.0", "txt_attn.proj": "attn.to_add_out",
                "img_mlp.0": "ff.net.0.proj", "img_mlp.2": "ff.net.2", "txt_mlp.0": "ff_context.net.0.proj", "txt_mlp.2": "ff_context.net.2",
            }.items():  # fmt: skip
                out[f"{b}{theirs}.{kind}"] = state[f"{a}{ours}.{kind}"]
        for i in range(singles):
            a, b = f"single_transformer_blocks.{i}.", f"single_blocks.{i}."
            out[f"{b}linear1.{kind}"] = joined(*(f"{a}attn.to_{x}.{kind}" for x in "qkv"), f"{a}proj_mlp.{kind}")
            out[f"{b}linear2.{kind}"], out[f"{b}modulation.lin.{kind}"] = state[f"{a}proj_out.{kind}"], state[f"{a}norm.linear.{kind}"]
    for i in range(doubles):
        for theirs, q, k in (("img_attn", "norm_q", "norm_k"), ("txt_attn", "norm_added_q", "norm_added_k")):
            out[f"double_blocks.{i}.{theirs}.norm.query_norm.scale"] = state[f"transformer_blocks.{i}.attn.{q}.weight"]
            out[f"double_blocks.{i}.{theirs}.norm.key_norm.scale"] = state[f"transformer_blocks.{i}.attn.{k}.weight"]
    for i in range(singles):
        out[f"single_blocks.{i}.norm.query_norm.scale"] = state[f"single_transformer_blocks.{i}.attn.norm_q.weight"]
        out[f"single_blocks.{i}.norm.key_norm.scale"] = state[f"single_transformer_blocks.{i}.attn.norm_k.weight"]
    return out


def test_a_single_file_of_bfl_stands_in_for_the_folders_transformer(tmp_path, dev):
    """Catches: the last modulation's halves not exchanged, q, k, v in another order; the folder's weights taken all the same."""
    pipeline, folder = dev
    other = diffusers.FluxTransformer2DModel.from_config(pipeline.transformer.config)
    torch.manual_seed(77)
    randomise(other)
    save_file({name: tensor.contiguous() for name, tensor in bfl_state(other.state_dict(), 2, 2).items()}, tmp_path / "flux1.safetensors")
    noise = noise_for(64, 64)
    wanted = theirs(diffusers.FluxPipeline(**pipeline.components | {"transformer": other}), WORDS, noise, 64, 64, 3, 3.5)
    found = ours(tmp_path, folder, WORDS, noise, options(64, 64, 3, 3.5), settings={"transformer": str(tmp_path / "flux1.safetensors")})
    assert difference(found, wanted) < CLOSE


@pytest.mark.parametrize("merge", [False, True])
def test_adapters_change_the_picture_as_changed_weights_do(tmp_path, dev, merge):
    """Two at once, with scales of their own. Catches: an adapter that is read and not attached, a scale that is left out."""
    pipeline, folder = dev
    other = diffusers.FluxTransformer2DModel.from_config(pipeline.transformer.config)
    other.load_state_dict(pipeline.transformer.state_dict())
    torch.manual_seed(8)
    files = []
    for number, (scale, modules) in enumerate([(0.7, ("transformer_blocks.0.attn.to_q", "single_transformer_blocks.1.proj_out")), (-0.5, ("transformer_blocks.0.attn.to_q",))]):
        adapter = {}
        for name in modules:
            linear = other.get_submodule(name)
            down, up = torch.randn(4, linear.in_features) / linear.in_features**0.5, torch.randn(linear.out_features, 4)
            adapter |= {f"transformer.{name}.lora_A.weight": down, f"transformer.{name}.lora_B.weight": up}
            linear.weight.data += scale * up @ down
        save_file(adapter, tmp_path / f"lora{number}.safetensors")
        files.append(f"{tmp_path}/lora{number}.safetensors:{scale}")
    noise = noise_for(64, 64)
    wanted = theirs(diffusers.FluxPipeline(**pipeline.components | {"transformer": other}), WORDS, noise, 64, 64, 3, 3.5)
    found = ours(tmp_path, folder, WORDS, noise, options(64, 64, 3, 3.5), settings={"lora": files, "lora_merge": merge})
    assert difference(found, wanted) < CLOSE
    assert difference(found, ours(tmp_path, folder, WORDS, noise, options(64, 64, 3, 3.5))) > 4 * CLOSE


# Catches: the steps that strength leaves rounded the other way, the noise mixed at another level, encoding by a sample, shift or scale left out.
@pytest.mark.parametrize("strength, steps", [(1.0, 3), (0.6, 5), (0.61, 10), (0.35, 3)])
@torch.no_grad()
def test_an_image_to_start_from_is_diffusers_img2img(tmp_path, dev, strength, steps):
    pipeline, folder = dev
    image2image = diffusers.FluxImg2ImgPipeline(**pipeline.components)
    image2image.set_progress_bar_config(disable=True)
    image, noise = photo(96, 64), noise_for(96, 64, seed=9)
    wanted = image2image(
        WORDS, image=encoded(pipeline, image), width=96, height=64, strength=strength, num_inference_steps=steps, guidance_scale=3.5, max_sequence_length=40,
        generator=torch.Generator().manual_seed(9), output_type="pt",
    ).images.float()  # fmt: skip
    assert shows_something(wanted)
    found = ours(tmp_path, folder, WORDS, noise, options(96, 64, steps, 3.5, strength=strength), image=image)
    assert difference(found, wanted) < CLOSE


@pytest.fixture(scope="session")
def kontext(dev, tmp_path_factory):
    pipeline, folder = dev
    out = diffusers.FluxKontextPipeline(**pipeline.components)
    out.set_progress_bar_config(disable=True)
    return out, saved(out, tmp_path_factory.mktemp("kontext") / "model", folder.parent / "sources")


# Catches: the reference's ids with axis 0 at 0 or in columns before rows, its tokens before the image's or in what is decoded, its tokens counted
# for the schedule's shift, another size of reference taken for the image's.
@pytest.mark.parametrize("reference", [(64, 96), (112, 48)])
def test_a_reference_is_diffusers_kontext(tmp_path, kontext, reference):
    pipeline, folder = kontext
    noise, shown = noise_for(64, 96), photo(*reference)
    wanted = theirs(pipeline, WORDS, noise, 64, 96, 3, 3.5, image=shown[None], _auto_resize=False, max_area=64 * 96)
    assert shows_something(wanted)
    found = ours(tmp_path, folder, WORDS, noise, options(64, 96, 3, 3.5, reference_resize=False), reference=shown)
    assert difference(found, wanted) < CLOSE
    other = ours(tmp_path, folder, WORDS, noise, options(64, 96, 3, 3.5, reference_resize=False), reference=photo(*reference, seed=2))
    assert difference(found, other) > 4 * CLOSE


@torch.no_grad()
def test_a_reference_is_resized_as_diffusers_does(tmp_path, kontext):
    """To the nearest trained size, by Pillow's Lanczos on 8 bits there: half a level of rounding before the encoder."""
    image = pytest.importorskip("PIL.Image")
    pipeline, folder = kontext
    shown = (photo(150, 60) * 255).round() / 255
    picture = image.fromarray((shown.permute(1, 2, 0) * 255).to(torch.uint8).numpy())
    noise = noise_for(48, 48)
    wanted = theirs(pipeline, WORDS, noise, 48, 48, 1, 3.5, image=picture, max_area=48 * 48)
    found = ours(tmp_path, folder, WORDS, noise, options(48, 48, 1, 3.5), reference=shown)
    assert difference(found, wanted) < 2 / 255


def test_kontext_sizes_are_diffusers():
    module = pytest.importorskip("diffusers.pipelines.flux.pipeline_flux_kontext")
    for width, height in [(1, 1), (100, 37), (37, 100), (4000, 3000), (3000, 4000), (16, 9), (9, 16), (500, 100), (1003, 1000)]:
        _, *wanted = min((abs(width / height - w / h), w, h) for w, h in module.PREFERRED_KONTEXT_RESOLUTIONS)
        assert probe("kontext-size", width, height).split() == [str(side) for side in wanted]


# Every way in which a folder can be unfit, told before or while it is read.
def without(*names):
    def change(folder):
        for name in names:
            shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()

    return change


def edited(name, **values):
    def change(folder):
        config = json.loads((folder / name).read_text()) | values
        (folder / name).write_text(json.dumps(config))

    return change


@pytest.mark.parametrize("change, told", [
    (without("model_index.json"), "not a diffusers folder"),
    (without("vae"), "a part of the model is missing: vae"),
    (without("transformer/config.json"), "transformer/config.json"),
    (without("transformer/diffusion_pytorch_model.safetensors"), "a folder without weights"),
    (without("text_encoder_2/model.safetensors"), "a folder without weights"),
    (without("tokenizer/merges.txt"), "merges.txt"),
    (without("tokenizer_2/spiece.model", "tokenizer_2/tokenizer.json"), "tokenizer_2"),
    (without("scheduler/scheduler_config.json"), "scheduler_config.json"),
    (edited("model_index.json", _class_name="FluxInpaintPipeline"), "FluxInpaintPipeline"),
    (edited("model_index.json", text_encoder_2=[None, None]), "the model has no text_encoder_2"),
    (edited("transformer/config.json", in_channels=48, out_channels=16), "tokens of another width"),
    (edited("transformer/config.json", in_channels=32), "tokens of another width"),
    (edited("transformer/config.json", num_layers=3), "missing"),
    (edited("transformer/config.json", joint_attention_dim=48), "the text encoders are not this transformer's"),
    (edited("text_encoder_2/config.json", feed_forward_proj="relu"), "feed_forward_proj"),
    (edited("text_encoder_2/config.json", num_heads=8), "num_heads is not the weights'"),
    (edited("vae/config.json", latent_channels=8), "tokens of another width"),
    (edited("scheduler/scheduler_config.json", use_karras_sigmas=True), "use_karras_sigmas"),
])  # fmt: skip
def test_a_folder_that_is_unfit_is_told(tmp_path, dev, change, told):
    folder = tmp_path / "model"
    shutil.copytree(dev[1], folder)
    change(folder)
    assert told in ours(tmp_path, folder, WORDS, noise_for(64, 64), options(64, 64, 1, 3.5), code=2)


# The real shapes, in the real number of shards, as sparse files: 12 B parameters of the transformer, 4.8 B of T5. Catches: weights that are read,
# copied or converted when they are bound.
def test_flux_1_devs_own_size_is_ready_in_no_time_and_no_memory(tmp_path, dev):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "model"
    shutil.copytree(dev[1], folder)
    with torch.device("meta"):
        flux = diffusers.FluxTransformer2DModel(guidance_embeds=True)
        config = transformers.T5Config(vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu", tie_word_embeddings=False)
        t5 = transformers.T5EncoderModel(config)
    edited("vae/config.json", latent_channels=16)(folder)
    flux.save_config(folder / "transformer")
    config.save_pretrained(folder / "text_encoder_2")
    without("transformer/diffusion_pytorch_model.safetensors", "text_encoder_2/model.safetensors")(folder)
    sparse_shards(folder / "transformer", "diffusion_pytorch_model", {name: tuple(t.shape) for name, t in flux.state_dict().items()}, 3)
    sparse_shards(folder / "text_encoder_2", "model", {name: tuple(t.shape) for name, t in t5.state_dict().items() if name != "encoder.embed_tokens.weight"}, 2)
    found = json.loads(probe("load", folder, "bf16"))
    assert found["transformer"] < 2 and found["t5"] < 2, found
    assert found["anonymous"] < 64e6, found
    # In float32 the biases and norms, 4 MB of them, are read and converted at once: how long that takes is the disk's matter.
    assert json.loads(probe("load", folder, "f32"))["anonymous"] < 64e6


assert CLIP_WIDTH != T5_WIDTH  # so that one is never taken for the other
