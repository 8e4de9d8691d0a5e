"""image-reward on small random weights in the published layout, against transformers' BLIP and PyTorch."""

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
from torch import nn  # noqa: E402

PROBE = pathlib.Path(os.environ.get("RESFLOW", pathlib.Path(__file__).resolve().parents[2] / "build" / "resflow")).parent / "tests" / "rewards_probe"
SIDE, PATCH, SEEN, WIDTH = 48, 16, 192, 128  # what the small image encoder sees; widths of 3 and 2 heads
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "cat", "on", "the", "roof", "##s", ",", "!", *"bcdefgh"]
CAPTIONS = ["a cat", "A cat, on the roofs!", "the roof [SEP] unheard-of cat", "a cat on the roof " * 12]


def blip_names(vision):
    """transformers' BlipVisionModel under BLIP's own names."""
    whole = {"embeddings.class_embedding": "cls_token", "embeddings.position_embedding": "pos_embed", "embeddings.patch_embedding": "patch_embed.proj",
             "post_layernorm": "norm", "encoder.layers": "blocks"}  # fmt: skip
    inside = {"layer_norm1": "norm1", "layer_norm2": "norm2", "self_attn.qkv": "attn.qkv", "self_attn.projection": "attn.proj"}
    out = {}
    for name, tensor in vision.state_dict().items():
        for theirs, here in {**whole, **inside}.items():
            name = name.replace(theirs, here)
        out[f"blip.visual_encoder.{name}"] = tensor
    return out


class Data:
    """A data folder, and the models whose files lie there."""

    def __init__(self, folder):
        torch.manual_seed(0)
        self.folder, self.home = folder, folder / "rewards" / "ImageReward"
        small = {"num_hidden_layers": 2, "intermediate_size": 160, "hidden_act": "gelu"}
        vision = {**small, "hidden_size": SEEN, "num_attention_heads": SEEN // 64, "image_size": SIDE, "patch_size": PATCH, "layer_norm_eps": 1e-6}
        text = {**small, "hidden_size": WIDTH, "num_attention_heads": WIDTH // 64, "encoder_hidden_size": SEEN, "vocab_size": len(WORDS) + 2,
                "max_position_embeddings": 40, "layer_norm_eps": 1e-12, "is_decoder": True}  # fmt: skip
        self.vision = transformers.BlipVisionModel(transformers.BlipVisionConfig(**vision)).eval()
        self.text = transformers.models.blip.modeling_blip_text.BlipTextModel(transformers.BlipTextConfig(**text), add_pooling_layer=False).eval()
        widths = (WIDTH, 32, 16, 8, 4, 1)
        self.mlp = nn.Sequential(*(nn.Linear(a, b) for a, b in zip(widths, widths[1:], strict=False)))
        for model in (self.vision, self.text, self.mlp):
            for name, parameter in model.named_parameters():
                if "norm" in name.lower() and name.endswith("weight"):
                    nn.init.uniform_(parameter, 0.5, 1.5)
                elif "embedding" in name:  # so small that an epsilon shows
                    nn.init.normal_(parameter, std=0.01)
                else:  # the usual initial values are so small that mistakes would hide
                    nn.init.normal_(parameter, std=0.3 if parameter.dim() < 2 else 1.5 / parameter[0].numel() ** 0.5)
        self.tokenizer = transformers.BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)})
        self.tokenizer.add_special_tokens({"bos_token": "[DEC]"})
        self.tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
        self.state = {**blip_names(self.vision), **{f"blip.text_encoder.{name}": tensor for name, tensor in self.text.state_dict().items()}}
        self.state |= {"blip.text_encoder.embeddings.position_ids": torch.arange(40)[None], "blip.vision_proj.weight": torch.rand(4, SEEN)}
        for layer, number in zip(self.mlp, (0, 2, 4, 6, 7), strict=True):
            self.state |= {f"mlp.layers.{number}.{name}": tensor for name, tensor in layer.state_dict().items()}
        self.home.mkdir(parents=True)
        torch.save(self.state, self.home / "ImageReward.pt")
        (self.home / "vocab.txt").write_text("".join(word + "\n" for word in WORDS))

    @torch.no_grad()
    def wanted(self, images, caption):
        """As the published score(): padded to 35 tokens with a mask, the first token's output, the authors' mean and deviation."""
        tokens = self.tokenizer([caption], padding="max_length", truncation=True, max_length=35, return_tensors="pt")
        out = []
        for image in clip_input(images):
            seen = self.vision(image[None]).last_hidden_state
            asked = {"input_ids": tokens["input_ids"], "attention_mask": tokens["attention_mask"]}
            told = self.text(**asked, encoder_hidden_states=seen, encoder_attention_mask=torch.ones(seen.shape[:2]), is_decoder=False)
            out.append((self.mlp(told.last_hidden_state[:, 0]) - 0.16717362830052426) / 1.0333394966054072)
        return torch.cat(out).flatten()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return Data(tmp_path_factory.mktemp("data"))


def clip_input(images):
    """The published transform by Pillow in its float mode: the shorter side by bicubic, the middle, CLIP's mean and deviation."""
    mean, deviation = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1), torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    out = []
    for image in images:
        height, width = image.shape[1:]
        size = (int(SIDE * width / min(height, width)), int(SIDE * height / min(height, width)))
        planes = np.stack([np.asarray(Image.fromarray(plane.numpy(), "F").resize(size, Image.BICUBIC)) for plane in image])
        top, left = int(round((size[1] - SIDE) / 2)), int(round((size[0] - SIDE) / 2))
        out.append((torch.tensor(planes)[:, top : top + SIDE, left : left + SIDE].clamp(0, 1) - mean) / deviation)
    return torch.stack(out)


def probe(folder, *arguments, code=0):
    done = subprocess.run([str(word) for word in (PROBE, *arguments)], capture_output=True, text=True, env={**os.environ, "RESFLOW_DATA": str(folder)})
    assert done.returncode == code, done.stderr
    return done.stderr if code else torch.tensor([float(word) for word in done.stdout.split("\n")[0].split()])


def drawn(tmp_path, count=3, height=61, width=90):
    images = nn.functional.interpolate(torch.rand(count, 3, 9, 9, generator=torch.Generator().manual_seed(5)), (height, width), mode="bilinear")
    (tmp_path / "images").write_bytes(images.numpy().tobytes())
    return images, (tmp_path / "images", count, height, width)


@pytest.mark.parametrize("caption", CAPTIONS)
def test_the_reward_is_the_published_score(tmp_path, data, caption):
    """1e-4 of numbers that differ by 1 and more. Catches: another epsilon of a norm, a norm before instead of behind, cross-attention left out or of
    the text, attention to the padding, [ENC] in the place of [CLS], a caption of more than 35 tokens, the head's layers with ReLU, mean and deviation."""
    images, arguments = drawn(tmp_path)
    wanted = data.wanted(images, caption)
    assert wanted.std() > 1
    torch.testing.assert_close(probe(data.folder, "reward", "image-reward", *arguments, caption), wanted, rtol=1e-4, atol=1e-4)


def test_the_caption_counts(tmp_path, data):
    """Catches: a text that is read once and kept."""
    _, arguments = drawn(tmp_path)
    one, other = (probe(data.folder, "reward", "image-reward", *arguments, caption) for caption in CAPTIONS[:2])
    assert (one - other).abs().min() > 0.01


@pytest.mark.parametrize(
    "break_it, told",
    [
        (lambda home, state: (home / "vocab.txt").write_text("".join(word + "\n" for word in WORDS[:-1])), ["vocab.txt", str(len(WORDS))]),
        (lambda home, state: (home / "vocab.txt").unlink(), ["ImageReward/vocab.txt", "bert-base-uncased", "Apache-2.0"]),
        (lambda home, state: (home / "ImageReward.pt").unlink(), ["ImageReward/ImageReward.pt", "THUDM/ImageReward", "Apache-2.0"]),
        (lambda home, state: torch.save({**state, "blip.visual_encoder.head.weight": torch.rand(2)}, home / "ImageReward.pt"), ["head.weight"]),
        (lambda home, state: torch.save({k: v for k, v in state.items() if "crossattention.self.key" not in k}, home / "ImageReward.pt"), ["crossattention"]),
    ],
)  # fmt: skip
def test_files_that_do_not_fit_are_told(tmp_path, data, break_it, told):
    """Catches: numbers of a part of a model, words under the wrong numbers."""
    home = tmp_path / "rewards" / "ImageReward"
    home.mkdir(parents=True)
    for name in ("ImageReward.pt", "vocab.txt"):
        (home / name).write_bytes((data.home / name).read_bytes())
    break_it(home, data.state)
    said = probe(tmp_path, "reward", "image-reward", *drawn(tmp_path)[1], "a cat", code=2)
    assert all(word in said for word in told), said


def test_restore_needs_a_caption_for_it(tiny, pictures, data, tmp_path):
    """Catches: a caption that does not reach the reward, a search without one."""
    environment = {**os.environ, "RESFLOW_DATA": str(data.folder)}
    arguments = ("restore", "--model", tiny.model, pictures / "coffee.png", "-o", tmp_path / "out.png", "--search", "best-of-n", "--candidates", "2",
                 "--steps", "2", "--width", "64", "--rewards", "image-reward")  # fmt: skip
    assert "--caption" in resflow(*arguments, code=USER_ERROR, env=environment).stderr
    resflow(*arguments, "--caption", "a cat", env=environment)
    assert (tmp_path / "out.png").exists()
