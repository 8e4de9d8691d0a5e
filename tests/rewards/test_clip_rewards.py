"""Rewards that read public weight files, on random weights in the published layouts, against transformers and PyTorch."""

import os
import pathlib
import subprocess

import numpy as np
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
Image = pytest.importorskip("PIL.Image")

from program import USER_ERROR, resflow  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

PROBE = pathlib.Path(os.environ.get("RESFLOW", pathlib.Path(__file__).resolve().parents[2] / "build" / "resflow")).parent / "tests" / "rewards_probe"
MEAN = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
DEVIATION = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
SIDE, WIDTH = 32, 48  # what the small towers see, and their embeddings' width


def probe(data, *arguments, code=0):
    environment = {**os.environ, "RESFLOW_DATA": str(data)}
    done = subprocess.run([str(word) for word in (PROBE, *arguments)], capture_output=True, text=True, env=environment)
    assert done.returncode == code, done.stderr
    return done.stderr if code else done.stdout


def randomised(module):
    for parameter in module.parameters():  # the usual initial values are so small that mistakes would hide
        nn.init.normal_(parameter, std=0.3 if parameter.dim() < 2 else 2 / parameter[0].numel() ** 0.5)
    return module.eval()


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A data folder: CLIP L/14 and B/32 in small, the heads, a vocabulary of single letters. -> folder, models by name"""
    torch.manual_seed(0)
    folder, models = tmp_path_factory.mktemp("data"), {}
    rewards = folder / "rewards"
    letters = list("abcdefghijklmnopqrstuvwxyz")
    words = letters + [letter + "</w>" for letter in letters] + ["<|startoftext|>", "<|endoftext|>"]
    text = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1, "vocab_size": len(words),
            "eos_token_id": 2, "bos_token_id": 0, "pad_token_id": 1}  # fmt: skip
    for name, patch in (("clip-vit-large-patch14", 8), ("clip-vit-base-patch32", 16)):
        vision = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": SIDE, "patch_size": patch}
        models[name] = randomised(transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)))
        models[name].save_pretrained(rewards / name)
        (rewards / name / "vocab.json").write_text(str({word: i for i, word in enumerate(words)}).replace("'", '"'))
        (rewards / name / "merges.txt").write_text("#version: 0.2\n")
    mlp = nn.Sequential(nn.Linear(WIDTH, 32), nn.Dropout(0.2), nn.Linear(32, 16), nn.Dropout(0.2), nn.Linear(16, 1))
    models["mlp"] = randomised(mlp)
    torch.save({f"layers.{name}": tensor for name, tensor in mlp.state_dict().items()}, rewards / "sac+logos+ava1-l14-linearMSE.pth")
    models["linear"] = randomised(nn.Linear(WIDTH, 1))
    torch.save(models["linear"].state_dict(), rewards / "sa_0_4_vit_l_14_linear.pth")
    return folder, models


def pictures(tmp_path, count=3, height=61, width=90):
    images = torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(5))
    images = F.avg_pool2d(F.pad(images, (2, 2, 2, 2), "reflect"), 5, 1)
    images = (images - 0.5) * 3 + 0.5
    (tmp_path / "images").write_bytes(images.numpy().tobytes())
    return images, (tmp_path / "images", count, height, width)


def clip_input(images, side):
    """OpenAI's transform by Pillow in its float mode: the kernel without the rounding; what overshoots is cut, as in 8 bits."""
    out = []
    for image in images.clamp(0, 1):
        height, width = image.shape[1:]
        short = min(height, width)
        size = (int(side * width / short), int(side * height / short))
        planes = [np.asarray(Image.fromarray(plane.numpy(), "F").resize(size, Image.BICUBIC)) for plane in image]
        top, left = int(round((size[1] - side) / 2)), int(round((size[0] - side) / 2))
        out.append(torch.tensor(np.stack(planes))[:, top : top + side, left : left + side].clamp(0, 1))
    return (torch.stack(out) - MEAN) / DEVIATION


@torch.no_grad()
def embeddings(model, images):
    found = model.get_image_features(clip_input(images, SIDE))
    return F.normalize(getattr(found, "pooler_output", found), dim=-1)


@pytest.mark.parametrize("height, width", [(61, 90), (90, 61), (224, 224), (40, 300), (225, 226)])
def test_the_input_is_openais(tmp_path, height, width):
    """1e-4 of about +-2. Catches: no antialiasing, another cubic, a crop that begins one pixel off, rounding to 8 bits, swapped sides."""
    images, arguments = pictures(tmp_path, 2, height, width)
    probe(tmp_path, "clip_input", *arguments, 56, tmp_path / "out")
    ours = torch.from_numpy(np.fromfile(tmp_path / "out", np.float32)).view(2, 3, 56, 56)
    torch.testing.assert_close(ours, clip_input(images, 56), rtol=0, atol=1e-4)


def test_aesthetic_heads_share_one_run_of_the_tower(tmp_path, data):
    """1e-3 of marks that differ by 0.1 and more. Catches: embeddings not of unit length, layers in another order, a second run of the tower."""
    folder, models = data
    images, arguments = pictures(tmp_path)
    *lines, runs = probe(folder, "reward", "aesthetic,aesthetic-l14", *arguments).strip().split("\n")
    with torch.no_grad():
        x = embeddings(models["clip-vit-large-patch14"], images)
        for line, head in zip(lines, ("mlp", "linear"), strict=True):
            wanted = models[head](x).squeeze(1)
            assert wanted.std() > 1e-3
            torch.testing.assert_close(torch.tensor([float(word) for word in line.split()]), wanted, rtol=1e-3, atol=1e-4)
    assert runs == "1"


def test_clip_score_is_the_papers(tmp_path, data):
    """Catches: no prefix before the caption, no cut at 0, the cosine without 2.5. Letters alone: spaces and capitals are the tokenizer's test."""
    folder, models = data
    model = models["clip-vit-base-patch32"]
    images, arguments = pictures(tmp_path)
    tokenizer = transformers.CLIPTokenizer(*(str(folder / "rewards" / "clip-vit-base-patch32" / name) for name in ("vocab.json", "merges.txt")))
    seen = []
    for caption in ("an old portrait", "a harbour", "two cats"):
        tokens = tokenizer([f"A photo depicts {caption}"], padding="max_length", truncation=True, max_length=77, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            found = model.get_text_features(tokens)
        wanted = 2.5 * (embeddings(model, images) @ F.normalize(getattr(found, "pooler_output", found), dim=-1)[0]).clamp(min=0)
        line = probe(folder, "reward", "clip-score", *arguments, caption).split("\n")[0]
        torch.testing.assert_close(torch.tensor([float(word) for word in line.split()]), wanted, rtol=1e-3, atol=1e-4)
        seen += wanted.tolist()
    assert max(seen) > 0.05


class Bottleneck(nn.Module):
    def __init__(self, width_in, width, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width_in, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width)
        self.stride = stride
        if stride > 1 or width_in != 4 * width:
            layers = {"-1": nn.AvgPool2d(stride), "0": nn.Conv2d(width_in, 4 * width, 1, bias=False), "1": nn.BatchNorm2d(4 * width)}
            self.downsample = nn.Sequential()
            for name, layer in layers.items():
                self.downsample.add_module(name, layer)

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu())).relu()
        y = self.bn3(self.conv3(F.avg_pool2d(y, self.stride)))
        return (y + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()


class Resnet(nn.Module):
    """The paper's ModifiedResNet, [2, 1, 1, 1] blocks of a width of 8, under OpenAI's names."""

    def __init__(self, width=8, out=WIDTH):
        super().__init__()
        for i, (a, b) in enumerate(((3, width // 2), (width // 2, width // 2), (width // 2, width)), 1):
            self.add_module(f"conv{i}", nn.Conv2d(a, b, 3, stride=2 if i == 1 else 1, padding=1, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(b))
        self.layer1 = nn.Sequential(Bottleneck(width, width, 1), Bottleneck(4 * width, width, 1))
        for i in (2, 3, 4):
            self.add_module(f"layer{i}", nn.Sequential(Bottleneck(width * 2**i, width * 2 ** (i - 1), 2)))
        deep = 32 * width
        self.attnpool = nn.Module()
        self.attnpool.positional_embedding = nn.Parameter(torch.randn(50, deep))
        for name, size in (("q_proj", deep), ("k_proj", deep), ("v_proj", deep), ("c_proj", out)):
            self.attnpool.add_module(name, nn.Linear(deep, size))

    def forward(self, x):
        for i in (1, 2, 3):
            x = getattr(self, f"bn{i}")(getattr(self, f"conv{i}")(x)).relu()
        x = F.avg_pool2d(x, 2)
        for i in (1, 2, 3, 4):
            x = getattr(self, f"layer{i}")(x)
        x = x.flatten(2).permute(2, 0, 1)
        x, pool = torch.cat([x.mean(0, keepdim=True), x]), self.attnpool
        bias = torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias])
        return F.multi_head_attention_forward(
            x[:1], x, x, x.shape[-1], x.shape[-1] // 64, None, bias, None, None, False, 0, pool.c_proj.weight, pool.c_proj.bias, training=False,
            need_weights=False, use_separate_proj_weight=True, q_proj_weight=pool.q_proj.weight, k_proj_weight=pool.k_proj.weight,
            v_proj_weight=pool.v_proj.weight)[0][0]  # fmt: skip


PROMPTS = [[886, 2867], [2103, 2867], [8157, 2867], [21977, 2867], [8157, 20938], [21977, 20938], [1400, 9977, 2867], [1042, 9977, 2867],
           [9307, 268, 1139, 2867], [33495, 2867]]  # fmt: skip


def clip_names(model):
    """A CLIPModel's text tower under OpenAI's names."""
    state, out = model.state_dict(), {}
    for name, here in (("text_model.embeddings.token_embedding.weight", "token_embedding.weight"), ("logit_scale", "logit_scale"),
                       ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
                       ("text_model.final_layer_norm.weight", "ln_final.weight"), ("text_model.final_layer_norm.bias", "ln_final.bias")):  # fmt: skip
        out[here] = state[name]
    out["text_projection"] = state["text_projection.weight"].t().contiguous()
    names = {"self_attn.out_proj": "attn.out_proj", "layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
    for i in range(2):
        for kind in ("weight", "bias"):
            theirs, here = f"text_model.encoder.layers.{i}.", f"transformer.resblocks.{i}."
            out[f"{here}attn.in_proj_{kind}"] = torch.cat([state[f"{theirs}self_attn.{x}_proj.{kind}"] for x in "qkv"])
            out |= {f"{here}{other}.{kind}": state[f"{theirs}{name}.{kind}"] for name, other in names.items()}
    return out


@pytest.mark.parametrize("name", ["RN50.pt", "RN50.safetensors"])
def test_clip_iqa_is_the_fields(tmp_path, name):
    """1e-3. Catches: strides by convolution instead of a pool, the positional embedding in the attention pool, P of the wrong prompt, no logit
    scale, a resize."""
    torch.manual_seed(3)
    text = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 1, "vocab_size": 49408, "eos_token_id": 2}
    vision = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1, "image_size": 16, "patch_size": 16}
    model = randomised(transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=vision, projection_dim=WIDTH)))
    trunk = randomised(Resnet())
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    nn.init.constant_(model.logit_scale, 1.5)
    state = {**{f"visual.{key}": tensor for key, tensor in trunk.state_dict().items()}, **clip_names(model)}
    (tmp_path / "rewards").mkdir()
    path = tmp_path / "rewards" / name
    save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
    images, arguments = pictures(tmp_path, 2, 96, 130)
    tokens = torch.full((10, 77), 49407)
    for row, prompt in enumerate(PROMPTS):
        tokens[row, : len(prompt) + 1] = torch.tensor([49406, *prompt])
    with torch.no_grad():
        found = model.get_text_features(tokens)
        words = F.normalize(getattr(found, "pooler_output", found), dim=-1)
        seen = F.normalize(trunk((images.clamp(0, 1) - MEAN) / DEVIATION), dim=-1)
        wanted = (seen @ words.t() * model.logit_scale.exp()).view(2, 5, 2).softmax(-1)[..., 0].mean(1)
    line = probe(tmp_path, "reward", "clip-iqa", *arguments).split("\n")[0]
    torch.testing.assert_close(torch.tensor([float(word) for word in line.split()]), wanted, rtol=1e-3, atol=1e-5)


def restore(tiny, pictures, data, out, *options, code=0):
    environment = {**os.environ, "RESFLOW_DATA": str(data)}
    arguments = ("--search", "best-of-n", "--candidates", "2", "--steps", "2", "--width", "64", *options)
    return resflow("restore", "--model", tiny.model, pictures / "coffee.png", "-o", out / "out.png", *arguments, code=code, env=environment)


def test_restore_searches_with_them(tiny, pictures, data, tmp_path):
    """Catches: a caption or weights that do not reach the search."""
    restore(tiny, pictures, data[0], tmp_path, "--rewards", "aesthetic,clip-score", "--caption", "a cup")
    assert (tmp_path / "out.png").exists()


@pytest.mark.parametrize(
    "options, told",
    [
        (("--rewards", "clip-score"), ["clip-score", "--caption"]),
        (("--rewards", "clip-iqa"), ["rewards/RN50.pt", "github.com/openai/CLIP", "MIT", "RESFLOW_DATA"]),
        (("--rewards", "aesthetic-b16"), ["sa_0_4_vit_b_16_linear.pth", "LAION-AI"]),
    ],
)
def test_what_is_missing_is_told_before_any_work(tiny, pictures, data, tmp_path, options, told):
    """Catches: an error after the work, one without the file's origin and licence, or a result that was not searched."""
    said = restore(tiny, pictures, data[0], tmp_path, *options, code=USER_ERROR).stderr
    assert all(word in said for word in told), said
    assert list(tmp_path.iterdir()) == []
