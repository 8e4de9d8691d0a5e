"""What `resflow train` for FLUX leaves behind: adapters in diffusers, validation, and Prodigy beside the authors' own."""

import json
import math
import signal

import pytest
from program import USER_ERROR, resflow, started
from test_train import losses, wait_for_step

torch = pytest.importorskip("torch")
pytest.importorskip("peft")
diffusers = pytest.importorskip("diffusers")

from flux_runs import ALPHA, RANK, SIDE, STEPS, pack, shard, unpack  # noqa: E402  (after the skips)
from models_probe import relative_error, run  # noqa: E402
from omini_oracle import Omini, condition_ids  # noqa: E402
from safetensors.torch import load_file, safe_open  # noqa: E402
from test_flux_training import drawn, options_of, reference_loss, validation_noise  # noqa: E402
from test_lora import pipeline, theirs  # noqa: E402

Image = pytest.importorskip("PIL.Image")


def inputs_of(batch):
    t = batch["t"].view(-1, 1, 1, 1)
    z = (1 - t) * batch["clean"] + t * batch["noise"]
    return {"hidden_states": pack(z), "encoder_hidden_states": batch["t5"], "pooled": batch["pooled"], "timestep": batch["t"],
            "img_ids": condition_ids(SIDE // 2, SIDE // 2), "txt_ids": torch.zeros(5, 3), "guidance": torch.ones(len(z))}  # fmt: skip


def with_adapter(folder, model, inputs, file, tokens=""):
    """Ours: the transformer under the adapter's file."""
    weights = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    uses = [{"path": str(file), "scale": 1, "merge": False, "tokens": tokens}]
    return run(folder, "lora", weights | inputs, config=json.dumps(dict(model.config)), loras=json.dumps(uses), full=0)["out"]


def again(folder):
    """The transformer afresh: PEFT renames what it wraps."""
    return diffusers.FluxTransformer2DModel.from_pretrained(folder / "transformer").eval()


@pytest.mark.parametrize("scope", ["condition", "all"])
@torch.no_grad()
def test_a_trained_adapter_loads_in_diffusers(tiny_flux, tmp_path, scope):
    """Catches: names that diffusers does not know, an alpha that it does not see, an adapter that acts on other tokens than it says."""
    folder, model = tiny_flux
    resflow("train", folder / "train.toml", "--output", tmp_path / "run", "--fusion.lora-scope", scope, "--steps", 20, "--learning-rate", 0.02)
    file = tmp_path / "run" / "adapter.safetensors"
    with safe_open(file, "pt") as opened:
        assert opened.metadata()["resflow.tokens"] == scope
    inputs = inputs_of(drawn(tmp_path, options_of(folder), 1)[0][0])
    plain = theirs(model, inputs)
    pipe = pipeline(again(folder), file)  # says so where a key is left over
    layers = {name for name, module in pipe.transformer.named_modules() if hasattr(module, "lora_A")}
    saved = {name.removeprefix("transformer.").rsplit(".lora_", 1)[0] for name in load_file(file)}
    assert layers == saved and all(pipe.transformer.get_submodule(name).scaling["adapter0"] == ALPHA / RANK for name in layers)
    expected = theirs(pipe.transformer, inputs)
    assert relative_error(plain, expected) > 1e-2
    assert relative_error(with_adapter(tmp_path, model, inputs, file, "all"), expected) < 1e-4
    # As the file says it: on every token, or, where there is no condition, nowhere.
    assert relative_error(with_adapter(tmp_path, model, inputs, file), expected if scope == "all" else plain) < 1e-4


def merged(model, adapter):
    """The transformer with the adapter in its weights: on every token."""
    changed = {f"{name}.weight": model.get_submodule(name).weight + ALPHA / RANK * up @ down for name, (down, up) in adapter.items()}
    return lambda inputs, *rest: torch.func.functional_call(OminiOf(model), {f"model.{k}": v for k, v in changed.items()}, (inputs, *rest))


class OminiOf(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, inputs, condition, ids, attention):
        return Omini(self.model, {}, 1)(inputs, condition, ids, attention)


def adapter_of(start):
    names = sorted({name.removeprefix("lora.").rsplit(".lora_", 1)[0] for name in start})
    return {name: tuple(start[f"lora.{name}.lora_{part}.weight"].clone().requires_grad_() for part in "AB") for name in names}


def test_a_scope_of_all_trains_on_every_token(tiny_flux, tmp_path):
    folder, model = tiny_flux
    resflow("train", folder / "train.toml", "--output", tmp_path, "--fusion.lora-scope", "all", "--steps", 4, "--learning-rate", 0.02, "--warmup", 0)
    ours = losses(tmp_path)
    batches, start = drawn(tmp_path, options_of(folder), 8)
    adapter = adapter_of(start)
    parameters = [tensor for pair in adapter.values() for tensor in pair]
    optimizer = torch.optim.AdamW(parameters, lr=1.0, betas=(0.9, 0.99), weight_decay=0.01)
    for step in range(1, 5):
        optimizer.zero_grad()
        loss = torch.zeros(())
        for batch in batches[2 * step - 2 : 2 * step]:
            out = merged(model, adapter)(inputs_of(batch), pack(batch["condition"][:, 0]), condition_ids(SIDE // 2, SIDE // 2), "independent")
            loss = loss + torch.nn.functional.mse_loss(out, pack(batch["noise"] - batch["clean"])) / 2
        assert ours[step] == pytest.approx(loss.item(), rel=1e-4), step
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.param_groups[0]["lr"] = 1e-6 + (0.02 - 1e-6) * 0.5 * (1 + math.cos(math.pi * step / 4))
        optimizer.step()


def entries(folder):
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


PRODIGY = ["--flux.optimizer", "prodigy", "--learning-rate", 1, "--final-learning-rate", 1, "--beta2", 0.99, "--warmup", 3]
# One picture at one noise level: gradients that agree, so that the step's size grows.
ALIKE = {"drop_text": 0, "drop_image": 0, "time_mean": -6, "time_deviation": 0}


def test_prodigy_follows_the_authors_own(tiny_flux, tmp_path):
    """d and the loss at each step. Catches: d taken from another step, a numerator that is not decayed, a warm-up that slows d, weights that decay at
    another rate."""
    prodigyopt = pytest.importorskip("prodigyopt")
    folder, model = tiny_flux
    shard(tmp_path / "one.safetensors", samples=1)
    alike = [word for name, value in ALIKE.items() for word in (f"--flux.{name.replace('_', '-')}", value)]
    resflow("train", folder / "train.toml", "--output", tmp_path, "--data", tmp_path / "one.safetensors", *alike, *PRODIGY)
    told = {entry["step"]: entry for entry in entries(tmp_path) if "loss" in entry}
    options = options_of(folder)
    options |= {"data": [str(tmp_path / "one.safetensors")], "flux": options["flux"] | ALIKE}
    batches, start = drawn(tmp_path, options, 2 * STEPS)
    adapter = adapter_of(start)
    parameters = [tensor for pair in adapter.values() for tensor in pair]
    optimizer = prodigyopt.Prodigy(parameters, lr=1.0, betas=(0.9, 0.99), weight_decay=0.01, use_bias_correction=True, safeguard_warmup=True)
    for step in range(1, STEPS + 1):
        optimizer.zero_grad()
        loss = sum(reference_loss(model, adapter, batches[2 * step - 2 + i], "independent") / 2 for i in range(2))
        loss.backward()
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.param_groups[0]["lr"] = min(1, step / 3)
        optimizer.step()
        assert told[step]["loss"] == pytest.approx(loss.item(), rel=1e-4 if step <= 10 else 1e-3), step
        assert told[step]["prodigy_d"] == pytest.approx(optimizer.param_groups[0]["d"], rel=1e-3 if step <= 10 else 0.02), step
    assert told[STEPS]["prodigy_d"] > 1000 * told[1]["prodigy_d"], "it has found a step's size"
    saved = load_file(tmp_path / "adapter.safetensors")
    for name, (down, up) in adapter.items():
        change = ((up @ down) - (start[f"lora.{name}.lora_B.weight"] @ start[f"lora.{name}.lora_A.weight"])).abs().max()
        product = saved[f"transformer.{name}.lora_B.weight"].float() @ saved[f"transformer.{name}.lora_A.weight"].float()
        assert (product - up @ down).abs().max() <= 0.05 * change + 1e-7, name


def test_prodigy_goes_on_after_kill_9(tiny_flux, tmp_path):
    folder, _ = tiny_flux
    arguments = lambda output: ["train", folder / "train.toml", "--output", output, "--ema", "0.9", *PRODIGY]  # noqa: E731
    resflow(*arguments(tmp_path / "whole"))
    process = started(*arguments(tmp_path / "killed"))
    wait_for_step(process, tmp_path / "killed", 8)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert "resuming at step" in resflow(*arguments(tmp_path / "killed")).stderr
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole") and len(losses(tmp_path / "whole")) == STEPS
    assert (tmp_path / "killed" / "adapter.safetensors").read_bytes() == (tmp_path / "whole" / "adapter.safetensors").read_bytes()
    # Its state is no AdamW's.
    said = resflow(*arguments(tmp_path / "killed"), "--flux.optimizer", "adamw", "--steps", STEPS + 1, code=USER_ERROR).stderr
    assert "adam." in said


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    """Of the tiny latents: four channels, an eighth of the picture's size."""
    torch.manual_seed(9)
    vae = diffusers.AutoencoderKL(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4, block_out_channels=[8, 8, 8, 8],
                                  layers_per_block=1, latent_channels=4, norm_num_groups=4, scaling_factor=0.4, shift_factor=0.1).eval()  # fmt: skip
    folder = tmp_path_factory.mktemp("vae")
    vae.save_pretrained(folder)
    return folder, vae


@torch.no_grad()
def test_validation_measures_and_paints(tiny_flux, autoencoder, tmp_path):
    """Catches: pictures of the condition in the place of the good ones, of weights that are not the average, latents in another scale, another sampler;
    a loss of samples that are trained on."""
    folder, model = tiny_flux
    vae_folder, vae = autoencoder
    shard(tmp_path / "held.safetensors", samples=3, seed=8)
    arguments = ["train", folder / "train.toml", "--output", tmp_path / "run", "--validation", tmp_path / "held.safetensors", "--flux.autoencoder", vae_folder,
                 "--validate-every", 25, "--validation-steps", 3, "--json"]  # fmt: skip
    result = json.loads(resflow(*arguments).stdout)
    told = {entry["step"]: entry["validation"]["loss"] for entry in entries(tmp_path / "run") if "validation" in entry}
    assert sorted(told) == [25, STEPS] and result["validation"] == {"loss": told[STEPS]}
    assert sorted(path.name for path in (tmp_path / "run" / "samples").iterdir()) == ["0000025.png", f"{STEPS:07}.png"]

    given = load_file(tmp_path / "held.safetensors")
    grid = torch.tensor(list(Image.open(tmp_path / "run" / "samples" / f"{STEPS:07}.png").convert("RGB").tobytes())).view(3 * 8 * SIDE, 3 * 8 * SIDE, 3) / 255

    def cell(row, column):
        return grid[row * 64 : row * 64 + 64, column * 64 : column * 64 + 64].permute(2, 0, 1)

    def decoded(latent):
        return (vae.decode(latent[None].float() / 0.4 + 0.1).sample[0] / 2 + 0.5).clamp(0, 1)

    for row in range(3):
        assert (cell(row, 0) - decoded(given["conditions"][row])).abs().max() < 3 / 255
        assert (cell(row, 2) - decoded(given["latents"][row])).abs().max() < 3 / 255
        assert (cell(row, 0) - cell(row, 2)).abs().mean() > 5 / 255

    # What the average's adapter makes of the start noise: steps from noise to picture, by PyTorch.
    saved = load_file(tmp_path / "run" / "adapter.safetensors")
    names = {name.removeprefix("transformer.").rsplit(".lora_", 1)[0] for name in saved}
    adapter = {name: tuple(saved[f"transformer.{name}.lora_{part}.weight"].float() for part in "AB") for name in names}
    noise, oracle = validation_noise(tmp_path, options_of(folder)), Omini(model, adapter, ALPHA / RANK)

    def velocity(row, z, t):
        batch = {"clean": z, "noise": z, "t": torch.tensor([t]), "t5": given["t5"][row : row + 1].float(), "pooled": given["pooled"][row : row + 1]}
        condition = given["conditions"][row : row + 1].float()
        return unpack(oracle(inputs_of(batch), pack(condition), condition_ids(SIDE // 2, SIDE // 2), "independent"))

    mu = 0.5 + (1.15 - 0.5) / (4096 - 256) * (SIDE * SIDE // 4 - 256)
    sigmas = [math.exp(mu) / (math.exp(mu) + 1 / s - 1) for s in (1, 2 / 3, 1 / 3)] + [0]
    total = 0
    for row in range(3):
        z = noise[row, 0]
        for now, then in zip(sigmas, sigmas[1:], strict=False):
            z = z + (then - now) * velocity(row, z, now)
        assert (cell(row, 1) - decoded(z[0])).abs().max() < 4 / 255 and (cell(row, 1) - cell(row, 2)).abs().mean() > 5 / 255
        clean = given["latents"][row : row + 1].float()
        for draw, t in enumerate((0.1, 0.3, 0.5, 0.7, 0.9), 1):
            eps = noise[row, draw]
            total += torch.nn.functional.mse_loss(velocity(row, (1 - t) * clean + t * eps, t), eps - clean) / 15
    assert told[STEPS] == pytest.approx(float(total), rel=1e-3)


def test_validation_needs_no_autoencoder_and_says_what_is_wrong(tiny_flux, tmp_path):
    folder, _ = tiny_flux
    shard(tmp_path / "held.safetensors", samples=2, seed=8)
    run_it = ["train", folder / "train.toml", "--steps", 2]
    resflow(*run_it, "--output", tmp_path / "run", "--validation", tmp_path / "held.safetensors")
    assert [entry["step"] for entry in entries(tmp_path / "run") if "validation" in entry] == [2] and not (tmp_path / "run" / "samples").exists()
    said = resflow(*run_it, "--output", tmp_path / "wrong", "--validation", tmp_path / "held.safetensors", "--flux.autoencoder", folder / "transformer", code=USER_ERROR).stderr
    assert "transformer" in said
    said = resflow(*run_it, "--output", tmp_path / "none", "--validation", tmp_path / "nothing.safetensors", code=USER_ERROR).stderr
    assert "nothing.safetensors" in said
