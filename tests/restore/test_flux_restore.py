"""`resflow restore` with FLUX: whole models of small random parts against diffusers' and an oracle of OminiControl's scheme, from the same noise."""

import copy
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
Image = pytest.importorskip("PIL.Image")
pytest.importorskip("sentencepiece")

TESTS = pathlib.Path(__file__).resolve().parents[1]
BUILD = pathlib.Path(os.environ.get("RESFLOW", TESTS.parent / "build" / "resflow")).parent
sys.path[:0] = [str(TESTS / folder) for folder in ("generate", "models", "server")] + [str(BUILD / "python")]

from esrgan_files import SRVGGNetCompact, drawn, save_pth  # noqa: E402
from generate_models import CHANNELS, CLIP_WIDTH, DEV, T5_WIDTH, WORDS, parts, randomise, saved  # noqa: E402
from omini_oracle import Omini, condition_ids, random_adapter  # noqa: E402
from program import USER_ERROR, files_in, resflow  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402
from seams import seam_score  # noqa: E402

WIDTH, HEIGHT, STEPS, GUIDANCE, SEED, LENGTH = 128, 96, 3, 2.5, 7, 24
CAPTION = "the red lighthouse at dusk"
RANK = 4
SIDE, TILE, SECOND = 288, 160, 128  # of a picture in four tiles of 160 px, at 0 and 128
ATTENTION = ("full", "independent")
CLOSE = 2 / 255
PLAIN = ("--scale", 1, "--steps", STEPS, "--guidance", GUIDANCE, "--seed", SEED, "--caption", CAPTION, "--max-sequence-length", LENGTH, "--no-checks",
         "--device", "cpu", "--dtype", "f32", "--json")  # fmt: skip


def adapter_file(path, adapter, metadata):
    tensors = {f"transformer.{name}.lora_{part}.weight": t.contiguous() for name, pair in adapter.items() for part, t in zip("AB", pair, strict=True)}
    save_file(tensors, path, {"format": "pt"} | metadata)
    return path


class Tiny:
    """A pipeline of diffusers, its folder, an adapter as OminiControl's files are, and a poor picture."""

    def __init__(self, folder):
        self.folder = folder
        self.pipeline = diffusers.FluxPipeline(**parts(folder / "sources"))
        self.model = saved(self.pipeline, folder / "tiny-flux", folder / "sources")
        self.transformer, self.vae = self.pipeline.transformer, self.pipeline.vae
        self.adapter = random_adapter(self.transformer, RANK)
        self.omini = adapter_file(folder / "omini.safetensors", self.adapter, {})
        rng = np.random.default_rng(3)
        small = Image.fromarray(rng.integers(0, 256, (HEIGHT // 8, WIDTH // 4, 3), dtype=np.uint8))
        self.poor, self.large = folder / "poor.png", folder / "large.png"
        for path, width, height in ((self.poor, WIDTH, HEIGHT), (self.large, SIDE, SIDE)):  # noisy, so that the remover has something to do
            smooth = np.asarray(small.resize((width, height), Image.BICUBIC)) + rng.normal(0, 40, (height, width, 3))
            Image.fromarray(smooth.clip(0, 255).astype(np.uint8)).save(path)

    def restore(self, source, output, *options, code=0, adapter=True, **more):
        words = ["restore", source, "-o", output, "--model", self.model, *PLAIN, *(("--adapter", self.omini) if adapter else ()), *options]
        done = resflow(*words, code=code, **more)
        return done.stderr if code else json.loads(done.stdout)["items"][0]

    # ---- the oracle

    @torch.no_grad()
    def encode(self, image):
        """[3, H, W] -> [1, C, h, w], the posterior's mean"""
        config = self.vae.config
        return (self.vae.encode(image[None] * 2 - 1).latent_dist.mean - config.shift_factor) * config.scaling_factor

    @torch.no_grad()
    def decode(self, latent):
        config = self.vae.config
        return (self.vae.decode(latent / config.scaling_factor + config.shift_factor).sample[0] / 2 + 0.5).clamp(0, 1)

    def sigmas(self, tokens, strength):
        slope = (DEV["max_shift"] - DEV["base_shift"]) / (DEV["max_image_seq_len"] - DEV["base_image_seq_len"])
        scheduler = diffusers.FlowMatchEulerDiscreteScheduler(**DEV)
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / STEPS, STEPS), mu=DEV["base_shift"] + slope * (tokens - DEV["base_image_seq_len"]))
        return scheduler.sigmas[int(STEPS - min(STEPS * strength, STEPS)) :]

    @torch.no_grad()
    def sample(self, velocity, noise, start=None, strength=1.0):
        """velocity(inputs) of a latent's tokens, from the start's latent where strength is below 1. -> [3, H, W]"""
        h, w = noise.shape[-2:]
        tokens, pooled, text_ids = self.pipeline.encode_prompt(CAPTION, CAPTION, max_sequence_length=LENGTH)
        ids = diffusers.FluxPipeline._prepare_latent_image_ids(1, h // 2, w // 2, "cpu", torch.float32)
        sigmas = self.sigmas(h * w // 4, strength)
        z = noise if start is None else sigmas[0] * noise + (1 - sigmas[0]) * start
        z = pack(z)
        for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
            inputs = {"hidden_states": z, "encoder_hidden_states": tokens, "pooled": pooled, "timestep": sigma[None], "guidance": torch.tensor([GUIDANCE]),
                      "img_ids": ids, "txt_ids": text_ids}  # fmt: skip
            z = z + (following - sigma) * velocity(inputs)
        return self.decode(diffusers.FluxPipeline._unpack_latents(z, h * 8, w * 8, 8))

    def by_sequence(self, shown, attention, scale=1.0, second=None):
        """second: another picture shown after the first, one higher on the first axis."""
        rows, columns = shown.shape[1] // 16, shown.shape[2] // 16
        pictures = [shown] if second is None else [shown, second]
        condition = torch.cat([pack(self.encode(picture)) for picture in pictures], 1)
        ids = torch.cat([condition_ids(rows, columns, axis0=float(i)) for i in range(len(pictures))])
        oracle = Omini(self.transformer, self.adapter, scale)
        return lambda inputs: oracle(inputs, condition, ids, attention)


def pack(latent):
    return diffusers.FluxPipeline._pack_latents(latent, *latent.shape)


def named(inputs):
    return {"pooled_projections" if name == "pooled" else name: value for name, value in inputs.items()}


def pixels(path):
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1).float() / 255


def noise(folder, x=0, y=0, width=WIDTH, height=HEIGHT, channels=CHANNELS):
    """What a tile there starts from: the program's own window of the field."""
    place = [str(n) for n in (SEED, channels, y // 8, x // 8, height // 8, width // 8)]
    subprocess.run([BUILD / "tests" / "restore_probe", "flux-noise", *place, folder / "noise.safetensors"], check=True)
    return load_file(folder / "noise.safetensors")["noise"]


def difference(a, b):
    return (a - b).abs().max().item()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    torch.manual_seed(1)
    return Tiny(tmp_path_factory.mktemp("flux"))


# Catches: a condition that is not the picture, or not in the transformer's scale; positions, guidance, text, noise levels of another size; an adapter on
# other tokens; a cache that differs from what it stands for (the oracle has none); z or the result in another scale.
@pytest.mark.parametrize("attention", ATTENTION)
def test_a_tile_equals_the_oracle(tmp_path, tiny, attention):
    item = tiny.restore(tiny.poor, tmp_path / "out.png", "--condition-attention", attention)
    expected = tiny.sample(tiny.by_sequence(pixels(tiny.poor), attention), noise(tmp_path))
    assert difference(pixels(tmp_path / "out.png"), expected) < CLOSE
    other = tiny.sample(tiny.by_sequence(pixels(tiny.poor), ATTENTION[1 - ATTENTION.index(attention)]), noise(tmp_path))
    assert difference(other, expected) > 5 * CLOSE  # so that the modes could not be mixed up
    assert item["model"]["condition_attention"] == attention and item["model"]["fusion"] == "sequence" and item["nfe"] == STEPS
    assert item["model"]["adapter"] == {"file": "omini.safetensors", "format": "omini-control", "scale": 1, "tokens": "condition"}
    text = Image.open(tmp_path / "out.png").text
    assert text["parameters"].startswith(f"{CAPTION}\nSteps: {STEPS}, Sampler: euler, Seed: {SEED}, Size: {WIDTH}x{HEIGHT}, Model hash: ")
    assert f"Distilled CFG Scale: {GUIDANCE}, Remover: compact" in text["parameters"] and json.loads(text["resflow"])["model"] == item["model"]


def test_another_adapter_acts_on_every_token_beside_it(tmp_path, tiny):
    torch.manual_seed(9)
    style = {name: (0.5 * down.flip(0), up.roll(3, 0)) for name, (down, up) in tiny.adapter.items()}
    adapter_file(tmp_path / "style.safetensors", style, {"resflow.tokens": "all"})
    item = tiny.restore(tiny.poor, tmp_path / "out.png", "--lora", f"{tmp_path / 'style.safetensors'}:0.5")
    assert [entry["file"] for entry in item["model"]["lora"]] == ["style.safetensors"] and item["model"]["adapter"]["file"] == "omini.safetensors"
    merged = copy.deepcopy(tiny.transformer)
    for name, (down, up) in style.items():
        merged.get_submodule(name).weight.data += 0.5 * up @ down
    own, tiny.transformer = tiny.transformer, merged
    expected = tiny.sample(tiny.by_sequence(pixels(tiny.poor), "full"), noise(tmp_path))
    tiny.transformer = own
    assert difference(pixels(tmp_path / "out.png"), expected) < CLOSE
    assert difference(tiny.sample(tiny.by_sequence(pixels(tiny.poor), "full"), noise(tmp_path)), expected) > 5 * CLOSE


@pytest.fixture(scope="module")
def remover(tmp_path_factory):
    """A network of Real-ESRGAN's that leaves the picture as it is but for its colours: a reference that nobody takes for the source."""
    network = drawn(SRVGGNetCompact(4, features=16, convolutions=3))
    with torch.no_grad():
        network.body[-1].weight.zero_()
        network.body[-1].bias.view(3, 16).copy_(torch.tensor([0.6, -0.6, 0.4])[:, None])
    path = tmp_path_factory.mktemp("remover") / "colours.pth"
    save_pth(network, path)
    return "--dr-file", path, "--reference-mix", 1


def test_the_adapters_scale_counts_and_the_reference_may_be_shown(tmp_path, tiny, remover):
    tiny.restore(tiny.poor, tmp_path / "reference.png", "--strength", 0, *remover)
    tiny.restore(tiny.poor, tmp_path / "out.png", "--adapter", f"{tiny.omini}:0.5", "--condition", "reference", *remover, adapter=False)
    shown = pixels(tmp_path / "reference.png")  # of 8 bits: the program's own is not rounded
    expected = tiny.sample(tiny.by_sequence(shown, "full", 0.5), noise(tmp_path))
    assert difference(pixels(tmp_path / "out.png"), expected) < CLOSE
    for other in (tiny.by_sequence(shown, "full"), tiny.by_sequence(pixels(tiny.poor), "full", 0.5)):
        assert difference(tiny.sample(other, noise(tmp_path)), expected) > 2 * CLOSE


# Catches: one of them left out, shown twice or in the other order, at the positions of one, or with the keys and values of one.
@pytest.mark.parametrize("attention", ATTENTION)
def test_both_pictures_may_be_shown(tmp_path, tiny, remover, attention):
    tiny.restore(tiny.poor, tmp_path / "reference.png", "--strength", 0, *remover)
    tiny.restore(tiny.poor, tmp_path / "out.png", "--condition", "both", "--condition-attention", attention, *remover)
    poor, removed = pixels(tiny.poor), pixels(tmp_path / "reference.png")
    expected = tiny.sample(tiny.by_sequence(poor, attention, second=removed), noise(tmp_path))
    assert difference(pixels(tmp_path / "out.png"), expected) < 1 / 255  # of 8 bits
    for other in (tiny.by_sequence(poor, attention), tiny.by_sequence(removed, attention, second=poor), tiny.by_sequence(poor, attention, second=poor)):
        assert difference(tiny.sample(other, noise(tmp_path)), expected) > 2 / 255


def test_strength_starts_from_the_reference(tmp_path, tiny, remover):
    """As FluxImg2ImgPipeline does: of three steps the last two. Catches: a start from the poor picture, or from noise."""
    tiny.restore(tiny.poor, tmp_path / "reference.png", "--strength", 0, *remover)
    item = tiny.restore(tiny.poor, tmp_path / "out.png", "--strength", 0.6, *remover)
    assert item["nfe"] == 2 and item["model"]["remover"]["name"] == "colours.pth"
    velocity, start = tiny.by_sequence(pixels(tiny.poor), "full"), tiny.encode(pixels(tmp_path / "reference.png"))
    expected = tiny.sample(velocity, noise(tmp_path), start, 0.6)
    assert difference(pixels(tmp_path / "out.png"), expected) < CLOSE
    for other in (tiny.encode(pixels(tiny.poor)), noise(tmp_path)):
        assert difference(tiny.sample(velocity, noise(tmp_path), other, 0.6), expected) > 5 * CLOSE
    one = tiny.restore(tiny.poor, tmp_path / "one.png", "--strength", 0.01)
    assert one["nfe"] == 1  # any strength above 0 is a step


def test_strength_0_is_the_remover_alone(tmp_path, tiny):
    item = tiny.restore(tiny.poor, tmp_path / "flux.png", "--strength", 0)
    resflow("restore", tiny.poor, "-o", tmp_path / "compact.png", "--scale", 1, "--strength", 0, "--no-checks", "--device", "cpu", "--dtype", "f32")
    assert torch.equal(pixels(tmp_path / "flux.png"), pixels(tmp_path / "compact.png")) and item["nfe"] == 0


# Catches: a strength left out, the control on other tokens, a union's kind lost, latents where x-labs' network wants the picture.
CONTROLS = {"plain": {}, "union": {"num_mode": 3}, "x-labs": {"num_single_layers": 0, "conditioning_embedding_channels": 4, "patch_size": 2}}


@pytest.mark.parametrize("form", CONTROLS)
def test_a_control_net_equals_diffusers(tmp_path, tiny, form):
    shape = {name: tiny.transformer.config[name] for name in ("in_channels", "attention_head_dim", "num_attention_heads", "joint_attention_dim",
                                                              "pooled_projection_dim", "guidance_embeds", "axes_dims_rope")}  # fmt: skip
    torch.manual_seed(5)
    net = randomise(diffusers.FluxControlNetModel(**(shape | {"num_layers": 1, "num_single_layers": 1} | CONTROLS[form])))
    net.save_pretrained(tmp_path / "net")
    union, picture = form == "union", form == "x-labs"
    more = ("--control-mode", 2) if union else ()
    item = tiny.restore(tiny.poor, tmp_path / "out.png", "--control", tmp_path / "net", "--control-scale", 0.6, *more, adapter=False)
    control = pixels(tiny.poor)[None] * 2 - 1 if picture else pack(tiny.encode(pixels(tiny.poor)))
    mode = torch.tensor([[2]]) if union else None

    def velocity(inputs):
        doubles, singles = net(**named(inputs), controlnet_cond=control, controlnet_mode=mode, conditioning_scale=0.6, return_dict=False)
        return tiny.transformer(**named(inputs), controlnet_block_samples=doubles, controlnet_single_block_samples=singles, return_dict=False,
                                controlnet_blocks_repeat=picture)[0]  # fmt: skip

    expected = tiny.sample(velocity, noise(tmp_path))
    assert difference(pixels(tmp_path / "out.png"), expected) < CLOSE
    plain = tiny.sample(lambda inputs: tiny.transformer(**named(inputs), return_dict=False)[0], noise(tmp_path))
    assert difference(plain, expected) > 5 * CLOSE
    assert item["model"]["fusion"] == "controlnet" and item["model"]["control"] == "net"
    if union:
        told = tiny.restore(tiny.poor, tmp_path / "b.png", "--control", tmp_path / "net", adapter=False, code=USER_ERROR)
        assert "--control-mode" in told and "0 to 2" in told


def test_addition_equals_diffusers_with_what_was_trained_merged_in(tmp_path, tiny):
    torch.manual_seed(6)
    width = tiny.transformer.inner_dim
    embedder = torch.randn(width, 4 * CHANNELS) / 4, torch.randn(width)
    save_file({"weight": embedder[0], "bias": embedder[1]}, tmp_path / "condition_embedder.safetensors")
    # As an older run left it, without a word on its fusion: the map beside it tells.
    path = adapter_file(tmp_path / "adapter.safetensors", tiny.adapter, {"resflow.tokens": "all", "resflow.version": "0.1.0"})
    item = tiny.restore(tiny.poor, tmp_path / "out.png", "--adapter", tmp_path, adapter=False)
    condition = pack(tiny.encode(pixels(tiny.poor)))
    merged = {f"{name}.weight": tiny.transformer.get_submodule(name).weight + up @ down for name, (down, up) in tiny.adapter.items()}
    hook = tiny.transformer.x_embedder.register_forward_hook(lambda module, args, out: out + torch.nn.functional.linear(condition, *embedder))
    call = lambda inputs: torch.func.functional_call(tiny.transformer, merged, kwargs=named(inputs) | {"return_dict": False})[0]  # noqa: E731
    expected = tiny.sample(call, noise(tmp_path))
    hook.remove()
    assert difference(pixels(tmp_path / "out.png"), expected) < CLOSE and item["model"]["fusion"] == "addition"
    told = tiny.restore(tiny.poor, tmp_path / "b.png", "--adapter", path, "--condition", "both", adapter=False, code=USER_ERROR)
    assert "room for one picture" in told and "sequence" in told
    (tmp_path / "condition_embedder.safetensors").unlink()
    told = tiny.restore(tiny.poor, tmp_path / "b.png", "--adapter", path, "--condition-fusion", "addition", adapter=False, code=USER_ERROR)
    assert "condition_embedder.safetensors" in told


def test_tiles_share_one_noise_field_and_leave_no_seam(tmp_path, tiny):
    """Each tile as the oracle makes it from its own window of the field; where they overlap, the windows hold the same numbers."""
    item = tiny.restore(tiny.large, tmp_path / "out.png", "--tile", TILE, "--overlap", 32)
    assert item["result"]["tiles"] == 4
    windows = {(y, x): noise(tmp_path, x, y, TILE, TILE) for y in (0, SECOND) for x in (0, SECOND)}
    assert torch.equal(windows[0, 0][..., 16:], windows[0, SECOND][..., :4]) and torch.equal(windows[0, 0][..., 16:, :], windows[SECOND, 0][..., :4, :])
    assert len({window.sum().item() for window in windows.values()}) == 4
    source, made = pixels(tiny.large), pixels(tmp_path / "out.png")
    own = {0: slice(0, SECOND), SECOND: slice(TILE, SIDE)}  # where a tile stands alone
    for (y, x), window in windows.items():
        shown = source[:, y : y + TILE, x : x + TILE]
        expected = torch.zeros(3, SIDE, SIDE)
        expected[:, y : y + TILE, x : x + TILE] = tiny.sample(tiny.by_sequence(shown, "full"), window)
        assert difference(made[:, own[y], own[x]], expected[:, own[y], own[x]]) < CLOSE
    image = (made.permute(1, 2, 0).numpy() * 255).round().astype(int)
    assert seam_score(image, [SECOND, TILE]) < 4 and seam_score(image.transpose(1, 0, 2), [SECOND, TILE]) < 4
    image[:, SIDE // 2 :] += 20
    assert seam_score(image, [SIDE // 2]) > 4  # what a seam would give


SEARCHES = ("best-of-n", "greedy", "zero-order", "paths", "rollover", "smc", "resflow")
SMALL = ("--steps", 4, "--candidates", 3, "--survivors", 2, "--rounds", 2, "--lookahead", 1, "--rewards", "lq-consistency,dr-consistency")


@pytest.mark.parametrize("strategy", SEARCHES)
def test_a_search_counts_its_calls_and_its_trace_tells_them(tmp_path, tiny, strategy):
    item = tiny.restore(tiny.poor, tmp_path / "out.png", "--search", strategy, *SMALL, "--trace", tmp_path / "run.json")
    search = json.loads((tmp_path / "run.json").read_text())["tiles"][0]["search"]
    assert item["search"] == {"plain_nfe": 4, "ended": "done"} and item["nfe"] == search["nfe"] > 4
    assert search["nfe"] == max(c["nfe"] for c in search["candidates"]) and search["candidates"][search["winner"]]["finished"]
    if strategy == "best-of-n":
        assert search["nfe"] == 3 * 4


def test_the_winner_is_the_best_of_the_seeds_and_one_candidate_is_the_plain_result(tmp_path, tiny):
    """Measured on the pictures. Catches: a batch that mixes its samples, noise of candidates that is the plain one's, another decoder's result."""
    tiny.restore(tiny.poor, tmp_path / "plain.png", "--steps", 4)
    tiny.restore(tiny.poor, tmp_path / "one.png", "--search", "best-of-n", *SMALL, "--candidates", 1, "--survivors", 1)
    assert difference(pixels(tmp_path / "one.png"), pixels(tmp_path / "plain.png")) < 1.5 / 255
    for batch in (1, 0):
        tiny.restore(tiny.poor, tmp_path / f"{batch}.png", "--search", "best-of-n", *SMALL, "--candidates", 5, "--reward-weights", "1,0", "--candidate-batch",
                     batch, "--trace", tmp_path / "run.json")  # fmt: skip
    assert difference(pixels(tmp_path / "0.png"), pixels(tmp_path / "1.png")) < 1.5 / 255
    candidates = json.loads((tmp_path / "run.json").read_text())["tiles"][0]["search"]["candidates"]
    scores = [c["scores"]["lq-consistency"] for c in candidates]
    assert len(set(scores)) == 5
    half = lambda path: torch.nn.functional.interpolate(pixels(path)[None], (HEIGHT // 2, WIDTH // 2), mode="bicubic", antialias=True).clamp(0, 1)  # noqa: E731
    distance = lambda name: (half(tmp_path / name) - half(tiny.poor)).abs().mean().item()  # noqa: E731
    assert distance("plain.png") == pytest.approx(-scores[0], abs=2e-3) and distance("0.png") == pytest.approx(-max(scores), abs=2e-3)


def test_a_search_may_look_through_a_small_autoencoder(tmp_path, tiny):
    torch.manual_seed(8)
    small = diffusers.AutoencoderTiny(latent_channels=CHANNELS, encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
                                      num_encoder_blocks=(1,) * 4, num_decoder_blocks=(1,) * 4)  # fmt: skip
    small.save_pretrained(tmp_path / "taef1")
    options = ("--search", "best-of-n", *SMALL, "--candidates", 1, "--survivors", 1, "--trace", tmp_path / "run.json")
    seen = {}
    for name, more in (("whole", ()), ("small", ("--preview-vae", tmp_path / "taef1"))):
        tiny.restore(tiny.poor, tmp_path / f"{name}.png", *options, *more)
        seen[name] = json.loads((tmp_path / "run.json").read_text())["tiles"][0]["search"]["candidates"][0]["scores"]
    assert torch.equal(pixels(tmp_path / "whole.png"), pixels(tmp_path / "small.png"))  # the result is the model's own decoder's
    assert seen["whole"] != seen["small"]
    told = tiny.restore(tiny.poor, tmp_path / "b.png", "--preview-vae", tiny.model / "transformer", code=USER_ERROR)
    assert "transformer" in told


def test_alpha_is_the_removers_and_metadata_stays(tmp_path, tiny):
    poor = Image.open(tiny.poor).convert("RGBA")
    poor.putalpha(Image.linear_gradient("L").resize(poor.size))
    poor.save(tmp_path / "poor.png", dpi=(300, 300))
    tiny.restore(tmp_path / "poor.png", tmp_path / "flux.png")
    resflow("restore", tmp_path / "poor.png", "-o", tmp_path / "compact.png", "--scale", 1, "--no-checks", "--device", "cpu", "--dtype", "f32")
    flux, compact = Image.open(tmp_path / "flux.png"), Image.open(tmp_path / "compact.png")
    assert np.array_equal(np.asarray(flux)[..., 3], np.asarray(compact)[..., 3]) and flux.info["dpi"] == compact.info["dpi"]


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """-> the folder of a short training of an adapter for the tiny transformer, with attention of its own"""
    folder = tmp_path_factory.mktemp("run")
    draw = lambda *shape: torch.randn(*shape, generator=torch.Generator().manual_seed(1))  # noqa: E731
    shard = {name: draw(2, CHANNELS, 8, 8) for name in ("latents", "conditions", "references")} | {"t5": draw(2, 5, T5_WIDTH), "pooled": draw(2, CLIP_WIDTH)}
    save_file(shard, folder / "a.safetensors")
    (folder / "train.toml").write_text(f"""
task = "flux-lora"
data = ["{folder / "a.safetensors"}"]
steps = 3
batch = 1
learning_rate = 0.1
warmup = 0
ema = 0
[flux]
model = "{tiny.model / "transformer"}"
[fusion]
rank = 2
condition = "both"
condition_attention = "full"
""")
    resflow("train", folder / "train.toml", "--output", folder / "run")
    return folder / "run"


def test_what_was_trained_is_used_as_it_was_trained(tmp_path, tiny, run):
    item = tiny.restore(tiny.poor, tmp_path / "a.png", "--adapter", run, adapter=False)
    assert item["model"]["condition_attention"] == "full"  # of the file, where ours is otherwise "independent"
    for attention in ATTENTION:
        tiny.restore(tiny.poor, tmp_path / f"{attention}.png", "--adapter", run / "adapter.safetensors", "--condition-attention", attention, adapter=False)
    assert torch.equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "full.png"))
    for condition in ("both", "lq"):  # it was shown both
        tiny.restore(tiny.poor, tmp_path / f"{condition}.png", "--adapter", run, "--condition", condition, adapter=False)
    assert torch.equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "both.png"))
    assert difference(pixels(tmp_path / "a.png"), pixels(tmp_path / "lq.png")) > 1 / 255
    assert difference(pixels(tmp_path / "a.png"), pixels(tmp_path / "independent.png")) > 1 / 255
    older = load_file(run / "adapter.safetensors")
    save_file(older, tmp_path / "older.safetensors", {"format": "pt", "resflow.version": "0.1.0"})
    assert tiny.restore(tiny.poor, tmp_path / "b.png", "--adapter", tmp_path / "older.safetensors", adapter=False)["model"]["condition_attention"] == "independent"


def test_memory_modes_give_the_same_picture_and_a_limit_is_kept(tmp_path, tiny):
    for mode in ("none", "text", "stream"):
        tiny.restore(tiny.poor, tmp_path / f"{mode}.png", "--offload", mode)
    assert torch.equal(pixels(tmp_path / "none.png"), pixels(tmp_path / "stream.png")) and torch.equal(pixels(tmp_path / "text.png"), pixels(tmp_path / "stream.png"))
    assert "less memory than --offload stream takes" in tiny.restore(tiny.poor, tmp_path / "x.png", "--max-vram", "1M", code=USER_ERROR)


def other_adapter(tiny, path, change):
    tensors = load_file(tiny.omini)
    save_file(change(tensors), path)
    return path


def test_what_is_wrong_is_told_before_any_picture_is_touched(tmp_path, tiny):
    wider = lambda tensors: tensors | {"transformer.transformer_blocks.0.attn.to_q.lora_A.weight": torch.zeros(RANK, 80)}  # noqa: E731
    strange = lambda tensors: tensors | {"transformer.transformer_blocks.7.attn.to_q.lora_A.weight": torch.zeros(RANK, 64),  # noqa: E731
                                         "transformer.transformer_blocks.7.attn.to_q.lora_B.weight": torch.zeros(64, RANK)}  # fmt: skip
    half = lambda tensors: {name: t for name, t in tensors.items() if "to_q.lora_B" not in name}  # noqa: E731
    folder = tmp_path / "adapters"
    folder.mkdir()
    cases = [
        ((), "--adapter"),
        (("--adapter", folder / "absent.safetensors"), "absent.safetensors"),
        (("--adapter", folder), "no adapter in this folder"),
        (("--adapter", other_adapter(tiny, folder / "wider.safetensors", wider)), "is of another size"),
        (("--adapter", other_adapter(tiny, folder / "strange.safetensors", strange)), "transformer_blocks.7.attn.to_q"),
        (("--adapter", other_adapter(tiny, folder / "half.safetensors", half)), "lora"),
        (("--adapter", tiny.omini, "--sigma-s", 0.3), "sigma_s"),
        (("--adapter", tiny.omini, "--control-scale", 0.3), "control_scale"),
        (("--adapter", tiny.omini, "--control", tiny.model / "vae"), "--adapter"),
        (("--control", tiny.model / "vae"), "no ControlNet"),
        (("--adapter", tiny.omini, "--condition-fusion", "controlnet"), "--control"),
        (("--adapter", tiny.omini, "--condition", "all"), "condition"),
        (("--adapter", tiny.omini, "--transformer", tiny.model / "vae"), "vae"),
    ]
    for options, told in cases:
        assert told in tiny.restore(tiny.poor, tmp_path / "out.png", *options, adapter=False, code=USER_ERROR), options
    small = ("restore", tiny.poor, "-o", tmp_path / "out.png")
    for options, told in [(("--guidance", 2), "guidance"), (("--adapter", tiny.omini), "adapter"), (("--offload", "text"), "offload"), (("--condition", "reference"), "condition")]:
        done = resflow(*small, *options, code=USER_ERROR)
        assert told in done.stderr and "FLUX" in done.stderr, options
    assert not (tmp_path / "out.png").exists() and files_in(tmp_path) == ["adapters/half.safetensors", "adapters/strange.safetensors", "adapters/wider.safetensors"]


def test_a_batch_reads_a_text_once_and_python_gets_what_the_program_gives(tmp_path, tiny):
    """The encoders are freed and their files gone after the first picture: one of the same caption still works, another's does not."""
    module = pytest.importorskip("resflow")
    model = saved(tiny.pipeline, tmp_path / "model", tiny.folder / "sources")
    options = dict(model=str(model), adapter=str(tiny.omini), scale=1, steps=STEPS, guidance=GUIDANCE, seed=SEED, caption=CAPTION, max_sequence_length=LENGTH,
                   checks=False, device="cpu", dtype="f32")  # fmt: skip
    first = module.restore(str(tiny.poor), **options)
    for part in ("text_encoder", "text_encoder_2"):
        for file in (model / part).glob("*.safetensors"):
            file.unlink()
    again = module.restore(str(tiny.poor), **options)
    assert np.array_equal(np.asarray(first), np.asarray(again))
    tiny.restore(tiny.poor, tmp_path / "out.png")
    assert difference(pixels(tmp_path / "out.png"), torch.from_numpy(np.asarray(first).copy()).permute(2, 0, 1).float() / 255) < 1 / 255
    with pytest.raises(module.Error):
        module.restore(str(tiny.poor), **(options | {"caption": WORDS}))


def test_a_folder_is_restored_and_goes_on_where_it_ended(tmp_path, tiny):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b"):
        Image.open(tiny.poor).crop((0, 0, 64, 64)).save(folder / f"{name}.png")
    words = ["restore", folder, "-o", tmp_path / "out", "--model", tiny.model, "--adapter", tiny.omini, *PLAIN]
    assert len(json.loads(resflow(*words).stdout)["items"]) == 2
    told = json.loads(resflow(*words).stdout)
    assert told["skipped"] == 2
    again = json.loads(resflow(*words, "--condition-attention", "independent").stdout)  # another way of reading it: not what is there
    assert again["skipped"] == 0


def test_the_server_restores_with_it(tmp_path, tiny):
    from served import Server

    options = {"scale": 1, "steps": STEPS, "guidance": GUIDANCE, "seed": SEED, "caption": CAPTION, "max_sequence_length": LENGTH, "checks": False}
    tiny.restore(tiny.poor, tmp_path / "out.png")
    with Server(tiny.model, tmp_path / "data", "--adapter", tiny.omini, "--device", "cpu", "--dtype", "f32") as server:
        job = server.finished(server.job(tiny.poor.read_bytes(), restore=options))
        assert job["state"] == "done", job
        (tmp_path / "served.png").write_bytes(server.get(job["links"]["result"]).body)
        wrong = server.submit(tiny.poor.read_bytes(), restore=options | {"sigma_s": 0.3})
        assert wrong.status == 400 and "sigma_s" in wrong.json["error"]["message"]
    assert torch.equal(pixels(tmp_path / "served.png"), pixels(tmp_path / "out.png"))
