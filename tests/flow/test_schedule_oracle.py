"""The noise levels against diffusers' FlowMatchEulerDiscreteScheduler, set up as FLUX.1-dev's."""
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
schedulers = pytest.importorskip("diffusers.schedulers")

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROBE = pathlib.Path(os.environ.get("RESFLOW", ROOT / "build" / "resflow")).parent / "tests" / "flow_probe"


def probe(*args):
    out = subprocess.run([PROBE, *map(str, args)], check=True, capture_output=True, text=True).stdout
    return np.array([float(line) for line in out.split()])


# Catches: mu as a factor instead of its exponential, the sqrt ("linear") shift, a level too few, an end that moved.
@pytest.mark.parametrize("steps,mu", [(1, 1.15), (4, 0.5), (30, 1.15), (50, 3.23), (8, 0.0)])
def test_shifted_levels_equal_the_schedulers(steps, mu):
    scheduler = schedulers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type="exponential", shift=3.0)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)  # FluxPipeline's own call
    np.testing.assert_allclose(probe("sigmas", steps, mu), scheduler.sigmas.numpy(), rtol=1e-5, atol=1e-7)


# FluxPipeline's calculate_shift, which lies in a module that needs transformers, written out: m x + b through the scheduler's defaults.
# Catches: the line clamped at 4096 tokens, or pixels counted for tokens.
@pytest.mark.parametrize("tokens", [64, 256, 1024, 4096, 16384])
def test_mu_is_the_line_through_the_schedulers_defaults(tokens):
    config = schedulers.FlowMatchEulerDiscreteScheduler().config
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    wanted = tokens * slope + config.base_shift - slope * config.base_image_seq_len
    assert probe("mu", tokens)[0] == pytest.approx(wanted, rel=1e-12)


# One step of the scheduler is our Euler step: z + (sigma_next - sigma) v. Catches a velocity of the other sign or time.
def test_a_step_of_the_scheduler_follows_our_levels():
    torch = pytest.importorskip("torch")
    scheduler = schedulers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, time_shift_type="exponential")
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / 3, 3), mu=1.15)
    x0, noise = torch.randn(2, 4, generator=torch.Generator().manual_seed(1)), torch.randn(2, 4, generator=torch.Generator().manual_seed(2))
    sigmas = probe("sigmas", 3, 1.15)
    z = noise
    for i, t in enumerate(scheduler.timesteps):
        assert float(t) == pytest.approx(1000 * sigmas[i], rel=1e-5)
        z = scheduler.step(noise - x0, t, z).prev_sample
        torch.testing.assert_close(z, (1 - sigmas[i + 1]) * x0 + sigmas[i + 1] * noise, rtol=1e-5, atol=1e-5)


# FluxPipeline's own calls, on the configurations of the published models and others: dev, schnell, a fixed shift, the "linear" form, another line.
# Catches: a fixed shift that is taken for a logarithm, the size for pixels, a line that is clamped or not read from the file.
DEV = {"use_dynamic_shifting": True, "shift": 3.0, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096}
FILES = {
    "dev": DEV,
    "schnell": {"shift": 1.0, "use_dynamic_shifting": False},
    "a fixed shift": {"shift": 3.0},
    "linear": DEV | {"time_shift_type": "linear"},
    "another line": DEV | {"base_shift": 0.3, "max_shift": 2.0, "base_image_seq_len": 100, "max_image_seq_len": 900},
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("steps, width, height", [(1, 1024, 1024), (4, 512, 768), (28, 1024, 1024), (28, 2048, 2048), (50, 1360, 768), (9, 64, 96)])
def test_a_models_own_levels_are_its_pipelines(tmp_path, file, steps, width, height):
    scheduler = schedulers.FlowMatchEulerDiscreteScheduler(**FILES[file])
    scheduler.save_pretrained(tmp_path)
    tokens = (height // 16) * (width // 16)
    config = scheduler.config
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=tokens * slope + config.base_shift - slope * config.base_image_seq_len)
    ours = probe("file", tmp_path / "scheduler_config.json", steps, tokens)
    np.testing.assert_allclose(ours, scheduler.sigmas.numpy(), rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("wrong", [{"use_karras_sigmas": True}, {"shift_terminal": 0.1}, {"stochastic_sampling": True}, {"_class_name": "EulerDiscreteScheduler"}, {"shift": "3"}])
def test_a_schedule_that_is_not_known_is_told(tmp_path, wrong):
    path = tmp_path / "scheduler_config.json"
    path.write_text(json.dumps(DEV | wrong))
    done = subprocess.run([PROBE, "file", path, "4", "100"], capture_output=True, text=True)
    assert done.returncode == 2 and next(iter(wrong)) in done.stderr, done.stderr
