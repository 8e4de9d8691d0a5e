"""Small FLUX models of random parts, made with diffusers and transformers and saved as a diffusers folder; and the probe."""

import json
import os
import pathlib
import subprocess

import diffusers
import sentencepiece
import tokenizers
import torch
import transformers
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = pathlib.Path(os.environ.get("RESFLOW", ROOT / "build" / "resflow")).parent / "tests" / "generate_probe"
START, END = "<|startoftext|>", "<|endoftext|>"
CHANNELS, T5_WIDTH, CLIP_WIDTH = 4, 32, 64  # of latents, T5's tokens, CLIP's vector
DEV = {"use_dynamic_shifting": True, "shift": 3.0, "base_image_seq_len": 8, "max_image_seq_len": 64, "base_shift": 0.5, "max_shift": 1.15}
# Of 0..1. Pictures are to be equal within 2/255; what float32 leaves is far below, and mistakes are far above.
CLOSE = 0.25 / 255
WORDS = "a photograph of the red lighthouse at dusk over an old grey sea with two small boats and many birds in winter light"


def probe(*arguments, code=0):
    done = subprocess.run([str(word) for word in (PROBE, *arguments)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def clip_tokenizer(folder):
    """Every byte, with and without the end of word, and a few merges."""
    folder.mkdir(parents=True)
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    merges = ["t h", "th e</w>", "o f</w>", "i n", "in t"]
    words = letters + [letter + "</w>" for letter in letters] + [merge.replace(" ", "") for merge in merges] + [START, END]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    return transformers.CLIPTokenizer.from_pretrained(str(folder), model_max_length=77)


def t5_tokenizer(folder):
    folder.mkdir(parents=True)
    (folder / "lines.txt").write_text("\n".join(" ".join(WORDS.split()[i : i + 7]) for i in range(15)) + "\n" + WORDS)
    sentencepiece.SentencePieceTrainer.train(
        input=str(folder / "lines.txt"), model_prefix=str(folder / "spiece"), vocab_size=90, model_type="unigram", pad_id=0, eos_id=1, unk_id=2,
        bos_id=-1, pad_piece="<pad>", hard_vocab_limit=False, minloglevel=2, num_threads=1,
    )  # fmt: skip
    return transformers.T5Tokenizer.from_pretrained(str(folder), model_max_length=512)


def randomise(model, gain=1.0):
    """Values at which mistakes show: neither vanishing nor saturating."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=gain / parameter[0].numel() ** 0.5)
        elif name.endswith("weight"):
            torch.nn.init.normal_(parameter, mean=1, std=0.2)
        else:
            torch.nn.init.normal_(parameter, std=0.2)
    return model.eval()


def parts(folder, guidance=True, scheduler=None):
    torch.manual_seed(11)
    clip, t5 = clip_tokenizer(folder / "clip"), t5_tokenizer(folder / "t5")
    text = transformers.CLIPTextConfig(
        hidden_size=CLIP_WIDTH, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2, vocab_size=len(clip), hidden_act="quick_gelu",
        bos_token_id=len(clip) - 2, eos_token_id=2, pad_token_id=len(clip) - 1,
    )  # fmt: skip
    t5_config = transformers.T5Config(
        vocab_size=len(t5), d_model=T5_WIDTH, d_kv=8, d_ff=48, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu", tie_word_embeddings=False, dropout_rate=0
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=[8, 8, 16, 16], down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, layers_per_block=1,
        latent_channels=CHANNELS, norm_num_groups=4, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip
    transformer = diffusers.FluxTransformer2DModel(
        in_channels=4 * CHANNELS, num_layers=2, num_single_layers=2, attention_head_dim=32, num_attention_heads=2, axes_dims_rope=[8, 12, 12],
        joint_attention_dim=T5_WIDTH, pooled_projection_dim=CLIP_WIDTH, guidance_embeds=guidance,
    )  # fmt: skip
    return {
        "scheduler": diffusers.FlowMatchEulerDiscreteScheduler(**(scheduler or DEV)),
        "vae": randomise(vae),
        "text_encoder": randomise(transformers.CLIPTextModel(text)),
        "tokenizer": clip,
        "text_encoder_2": randomise(transformers.T5EncoderModel(t5_config)),
        "tokenizer_2": t5,
        "transformer": randomise(transformer),
    }


def saved(pipeline, folder, sources, **options):
    """The pipeline's folder. Tokenizers as the published models have them: transformers 5 leaves their own files out."""
    pipeline.save_pretrained(folder, **options)
    for part, names in {"tokenizer": ("vocab.json", "merges.txt"), "tokenizer_2": ("spiece.model",)}.items():
        source = sources / {"tokenizer": "clip", "tokenizer_2": "t5"}[part]
        for name in names:
            (folder / part / name).write_bytes((source / name).read_bytes())
    return folder


def ours(folder, model, prompt, noise, options, code=0, settings=None, **sources):
    """Our pictures [n, 3, H, W], 0..1, or what is complained of. settings: of the model"""
    settings = {"device": "cpu", "dtype": "f32"} | (settings or {})
    tensors = {"noise": noise.contiguous(), **{name: tensor.contiguous() for name, tensor in sources.items()}}
    save_file(tensors, folder / "in", {"prompt": prompt, "options": json.dumps(options), "model": json.dumps(settings)})
    told = probe("run", model, folder / "in", folder / "out", code=code)
    if code:
        return told
    made = load_file(folder / "out")
    return torch.stack([made[f"image.{i}"] for i in range(len(made))])


def noise_for(width, height, n=1, seed=5):
    return torch.randn(n, CHANNELS, height // 8, width // 8, generator=torch.Generator().manual_seed(seed))


def packed(latent):
    return diffusers.FluxPipeline._pack_latents(latent, *latent.shape)


@torch.no_grad()
def theirs(pipeline, prompt, noise, width, height, steps, guidance, length=40, **more):
    return pipeline(
        prompt=prompt, width=width, height=height, num_inference_steps=steps, guidance_scale=guidance, max_sequence_length=length, output_type="pt",
        latents=packed(noise), num_images_per_prompt=len(noise), **more,
    ).images.float()  # fmt: skip


def options(width, height, steps, guidance, length=40, **more):
    return {"width": width, "height": height, "steps": steps, "guidance": guidance, "max_sequence_length": length, **more}


def difference(a, b):
    assert a.shape == b.shape
    return float((a - b).abs().max())


def shows_something(image):
    """Neither flat nor cut off at black and white, where differences would not show."""
    return image.std() > 0.05 and ((image <= 0) | (image >= 1)).float().mean() < 0.5


@torch.no_grad()
def encoded(pipeline, image):
    """The posterior's mean, as FluxKontextPipeline takes it and we always do. image [3, H, W], 0..1"""
    raw = pipeline.vae.encode(image[None] * 2 - 1).latent_dist.mode()
    return (raw - pipeline.vae.config.shift_factor) * pipeline.vae.config.scaling_factor


def photo(width, height, seed=1):
    """Smooth, as photographs are: random noise would leave nothing to resize."""
    small = torch.rand(1, 3, 5, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(small, (height, width), mode="bicubic").clamp(0, 1)[0]
