"""Written by python/write_options.py from the library's field lists."""

from collections.abc import Sequence
from typing import TypedDict

class RestoreOptions(TypedDict, total=False):
    """The options of restore(), all by keyword."""

    scale: float
    "Enlargement; 0 = 4 for pictures under 512 px, else 2; 1 restores in place. Default: 0.0"
    width: int
    "Width of the result in pixels; with it alone the height follows. Default: 0"
    height: int
    "Height of the result in pixels; with it alone the width follows. Default: 0"
    steps: int
    "Denoising steps; 0 = the model's default (FLUX: 28, or 4 without guidance). Default: 0"
    seed: int
    "Seed of the noise: the same seed gives the same picture. Default: 0"
    strength: float
    "How much of the flow is applied: 0 = the degradation remover alone, 1 = all. Default: 1.0"
    reference_mix: float
    "Share of --dr-file's picture in what the flow starts from, the rest being the model's own remover's: 1 = sharpest, less = nearer to the truth. Default: 0.75"
    sigma_s: float
    "compact: start noise: small is faithful, large invents; 0 = the model's default. Default: 0.0"
    sampler: str
    "ODE solver (euler | heun). Default: \"euler\""
    color_fix: str
    "Colours taken back from the source (wavelet | tone | adain | lab | none). Default: \"none\""
    caption: str
    "What the picture shows, in words: for FLUX, and for rewards that compare with a text; for a compact model trained with words: what is wrong with it, as \"no blur, strong noise\". Default: \"\""
    guidance: float
    "FLUX: scale that the model is fed, where it takes one (dev). Default: 3.5"
    condition: str
    "FLUX: what it is shown: the poor picture, enlarged, the degradation remover's, or both (a sequence); auto = as the adapter was trained, else lq (auto | lq | reference | both). Default: \"auto\""
    control_scale: float
    "FLUX: strength of what a ControlNet adds. Default: 1.0"
    max_sequence_length: int
    "FLUX: tokens of the caption; another number changes the picture. Default: 512"
    tile: int
    "Side of a tile in result pixels (memory grows with it), 128 or more; 0 = 512, FLUX: 1024. Default: 0"
    overlap: int
    "Pixels that neighbouring tiles share. Default: 96"
    max_change: float
    "Largest change against the source that is let through, 0..1 (0.06 is just visible); 0 = any. Default: 0.0"
    on_change: str
    "What happens to a larger one: drawn back to the source, or the picture refused (blend | refuse). Default: \"blend\""
    checks: bool
    "Look for broken results (no numbers, flat, colour cast, seams, grid) and make such a one again more safely. Default: true"
    search: str
    "Test-time search: how candidates are made and kept (none | best-of-n | greedy | zero-order | paths | rollover | smc | resflow). Default: \"none\""
    candidates: int
    "Candidates a round; 1 = plain sampling. Default: 4"
    rounds: int
    "Rounds; at most one a step; -1 = the strategy's own: 2, of resflow 0, whose candidates are all finished. Default: -1"
    survivors: int
    "Candidates that go on after a round; at most as many as candidates. Default: 2"
    lookahead: int
    "Strides that mspde looks ahead. Default: 2"
    rho: float
    "Strength of a perturbation: fresh noise relative to the noise that is there. Default: 0.3"
    rho_decay: float
    "A round at noise level t perturbs by rho * t^rho_decay. Default: 0.0"
    perturbation: str
    "How siblings are made (preserve | churn | zero-drift). Default: \"preserve\""
    estimator: str
    "How a candidate in flight is judged (mspde | tweedie). Default: \"mspde\""
    elitism: bool
    "Parents compete with their children. Default: true"
    last_expansion: bool
    "greedy: all candidates of the last round are finished before the winner is chosen. Default: true"
    rewards: Sequence[str]
    "Who judges (lq-consistency | dr-consistency | niqe | compact-iqa | aesthetic | aesthetic-l14 | aesthetic-b16 | aesthetic-b32 | clip-score | clip-iqa | image-reward). Default: [\"dr-consistency\", \"lq-consistency\", \"niqe\"]"
    reward_weights: Sequence[float]
    "One for each reward, or none; 0 = recorded, not searched for. Default: []"
    reward_gates: Sequence[float]
    "One for each reward, or none: drops what scores lower than its parent by more; negative = no gate. Default: []"
    fusion: str
    "How the rewards become one (rank | zscore | sum). Default: \"rank\""
    budget: float
    "Most model evaluations (NFE); 0 = no limit. Default: 0.0"
    time: float
    "Most seconds of the search; 0 = no limit. Default: 0.0"
    round_low: float
    "Lowest noise level of a round. Default: 0.25"
    round_high: float
    "Highest noise level of a round. Default: 0.85"
    candidate_batch: int
    "Candidates in one model call (memory grows with it); 0 = all. Default: 0"
    path_start: float
    "paths: noise level where the paths first compete. Default: 0.11"
    path_forward: float
    "paths: how far a round goes back up in noise. Default: 0.78"
    path_backward: float
    "paths: how far it comes down again. Default: 0.81"
    diffusion: float
    "rollover, smc: g = diffusion * t^2 of their stochastic steps. Default: 3.0"
    levels: str
    "rollover: the sampler's noise levels, or the published schedule, which has few at the clean end (sampler | published). Default: \"sampler\""
    potential: str
    "smc: of the reward's course, what weighs (diff | max | add | rt). Default: \"diff\""
    temperature: float
    "smc: weight = exp(temperature * reward). Default: 10.0"
    resample_below: float
    "smc: resample when the effective share of the candidates falls below. Default: 0.5"
    share_velocity: bool
    "resflow: siblings share their parent's model call. Default: true"
    early_rejection: bool
    "resflow: half of the candidates are dropped after a one-step estimate. Default: true"
    adaptive_rho: bool
    "resflow: rho follows success (halved when no child wins, x 1.3 when all parents lose). Default: true"
    stop_early: bool
    "resflow: no more rounds once the parents have won twice. Default: true"
    finish_lookahead: bool
    "resflow: near the end, look ahead with the sampler's own steps and keep them. Default: true"
    regions: int
    "resflow: the winner is put together from all finished candidates, in so many regions a side; 1 = one of them as it is. Default: 4"
    model: str
    "Model: compact (shipped), a file of its kind, or FLUX: a diffusers folder, or ORG/NAME in Hugging Face's cache. Default: \"compact\""
    device: str
    "auto, cpu, cuda or cuda:N. Default: \"auto\""
    dtype: str
    "Number type: auto (bf16 where it is fast), f32, bf16, f16 (auto | f32 | bf16 | f16). Default: \"auto\""
    dr_file: str
    "Degradation remover in place of the model's own, a network of Real-ESRGAN or SwinIR: real-esrgan (fetched by `resflow pull`), .pth, .ckpt, .safetensors, ncnn's .bin, X.whl or X.whl:MODEL. Default: \"\""
    adapter: str
    "FLUX: the adapter that reads the poor picture, FILE or FILE:SCALE: what `resflow train` makes (or its run's folder), or OminiControl's. Default: \"\""
    control: str
    "FLUX: a ControlNet in place of an adapter: a file, a folder, or ORG/NAME in Hugging Face's cache. Default: \"\""
    control_mode: int
    "FLUX: the kind of control that a union of ControlNets is shown; -1 = it knows one. Default: -1"
    lora: Sequence[str]
    "FLUX: adapters of the transformer beside that, such as one for few steps: FILE or FILE:SCALE, several with commas or by naming the option again. Default: []"
    condition_fusion: str
    "FLUX: how the poor picture reaches the transformer; auto = as the files are (auto | sequence | addition | controlnet). Default: \"auto\""
    condition_attention: str
    "FLUX: what the poor picture's tokens attend to: all, or themselves (then computed once a tile); auto = as the adapter was trained (auto | full | independent). Default: \"auto\""
    transformer: str
    "FLUX: other weights for the folder's transformer: a single file, GGUF or float8. Default: \"\""
    t5: str
    "FLUX: other weights for the folder's T5 encoder. Default: \"\""
    vae: str
    "FLUX: other weights for the folder's autoencoder. Default: \"\""
    preview_vae: str
    "FLUX: a small autoencoder (TAEF1) that previews and searches look through; empty = the model's own. Default: \"\""
    offload: str
    "What is kept in memory: all that was loaded (none), all but the text encoders (text), or a block of the transformer at a time (stream); auto = the first of the last two that fits, on a CPU stream (auto | none | text | stream). Default: \"auto\""
    max_vram: str
    "Most memory to take, as in 12G: of the GPU, or on a CPU anonymous memory; empty = what is free. Default: \"\""
