"""SwinIR in PyTorch, from its paper's and its authors' description, on random weights: a window at a time, with explicit masks. And spandrel's, which
is the authors' own code, where pip can fetch it."""

import importlib
import subprocess
import sys
import types

import torch
from torch import nn
from torch.nn import functional as f

MEAN = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1)


class Attention(nn.Module):
    def __init__(self, width, heads, window):
        super().__init__()
        self.heads, self.window = heads, window
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, region):
        """x [window, window, C]; region [window, window]: tokens of different ones do not see each other."""
        w, c = self.window, x.shape[-1]
        tokens, region = x.reshape(w * w, c), region.reshape(w * w)
        y, x_ = torch.arange(w * w) // w, torch.arange(w * w) % w
        row = (y[:, None] - y[None] + w - 1) * (2 * w - 1) + x_[:, None] - x_[None] + w - 1
        q, k, v = self.qkv(tokens).reshape(w * w, 3, self.heads, c // self.heads).permute(1, 2, 0, 3)
        scores = (q * (c // self.heads) ** -0.5) @ k.transpose(1, 2) + self.relative_position_bias_table[row].permute(2, 0, 1)
        scores = scores - 100.0 * (region[:, None] != region[None])
        return self.proj((scores.softmax(-1) @ v).transpose(0, 1).reshape(w * w, c)).reshape(w, w, c)


class Block(nn.Module):
    def __init__(self, width, heads, window, hidden, shift):
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads, window)
        self.mlp = nn.Sequential()
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        _, height, width, _ = x.shape
        s, w = self.shift, self.window
        h = torch.roll(self.norm1(x), (-s, -s), (1, 2))
        # After the roll the last `s` rows are the first ones come round, and share their windows with the rows before them.
        band = [torch.tensor([0 if i < size - w else 1 if i < size - s else 2 for i in range(size)]) for size in (height, width)]
        region = band[0][:, None] * 3 + band[1] if s else torch.zeros(height, width)
        out = torch.empty_like(h)
        for n in range(x.shape[0]):
            for i in range(0, height, w):
                for j in range(0, width, w):
                    out[n, i : i + w, j : j + w] = self.attn(h[n, i : i + w, j : j + w], region[i : i + w, j : j + w])
        x = x + torch.roll(out, (s, s), (1, 2))
        return x + self.mlp.fc2(f.gelu(self.mlp.fc1(self.norm2(x))))


def closing(width, three):
    if not three:
        return nn.Conv2d(width, width, 3, padding=1)
    narrow = width // 4
    slope = nn.LeakyReLU(0.2)
    return nn.Sequential(nn.Conv2d(width, narrow, 3, padding=1), slope, nn.Conv2d(narrow, narrow, 1), slope, nn.Conv2d(narrow, width, 3, padding=1))


def on_map(layer, x):
    return layer(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Group(nn.Module):
    def __init__(self, width, heads, window, hidden, depth, three):
        super().__init__()
        self.residual_group = nn.Module()
        self.residual_group.blocks = nn.ModuleList(Block(width, heads, window, hidden, 0 if i % 2 == 0 else window // 2) for i in range(depth))
        self.conv = closing(width, three)

    def forward(self, x):
        h = x
        for block in self.residual_group.blocks:
            h = block(h)
        return x + on_map(self.conv, h)


class SwinIR(nn.Module):
    """end: pixelshuffle, pixelshuffledirect, nearest+conv, or "" (a change of the picture). fold: DiffBIR's pixel-unshuffle."""

    def __init__(self, end, upscale=1, width=24, depths=(2, 2), heads=(3, 3), window=8, ratio=2, three=False, fold=1, features=16):
        super().__init__()
        self.end, self.upscale, self.fold, self.window = end, upscale, fold, window
        self.range = 255.0 if window == 7 else 1.0
        first = nn.Conv2d(3 * fold * fold, width, 3, padding=1)
        self.conv_first = nn.Sequential(nn.PixelUnshuffle(fold), first) if fold > 1 else first
        self.patch_embed = nn.Module()
        self.patch_embed.norm, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.layers = nn.ModuleList(Group(width, h, window, ratio * width, d, three) for d, h in zip(depths, heads))
        self.conv_after_body = closing(width, three)
        conv = lambda a, b: nn.Conv2d(a, b, 3, padding=1)  # noqa: E731
        if end in ("pixelshuffle", "nearest+conv"):
            self.conv_before_upsample = nn.Sequential(conv(width, features), nn.LeakyReLU())
            self.conv_last = conv(features, 3)
        if end == "pixelshuffle":
            steps = {2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}[upscale]
            self.upsample = nn.Sequential(*[layer for by in steps for layer in (conv(features, by * by * features), nn.PixelShuffle(by))])
        elif end == "pixelshuffledirect":
            self.upsample = nn.Sequential(conv(width, 3 * upscale**2), nn.PixelShuffle(upscale))
        elif end == "nearest+conv":
            self.ups = upscale.bit_length() - 1
            for i in range(1, self.ups + 1):
                setattr(self, f"conv_up{i}", conv(features, features))
            self.conv_hr = conv(features, features)
        else:
            self.conv_last = conv(width, 3)

    def padded(self, image):
        """To whole windows, as DiffBIR pads; the authors' own code for fold 1."""
        multiple = self.window * self.fold
        return f.pad(image, (0, -image.shape[3] % multiple, 0, -image.shape[2] % multiple), mode="reflect")

    def forward(self, image):
        height, width = image.shape[2] * self.upscale // self.fold, image.shape[3] * self.upscale // self.fold
        x = (self.padded(image) - MEAN) * self.range
        first = self.conv_first(x)
        h = self.patch_embed.norm(first.permute(0, 2, 3, 1))
        for layer in self.layers:
            h = layer(h)
        h = first + self.conv_after_body(self.norm(h).permute(0, 3, 1, 2))
        if self.end == "pixelshuffle":
            h = self.conv_last(self.upsample(self.conv_before_upsample(h)))
        elif self.end == "pixelshuffledirect":
            h = self.upsample(h)
        elif self.end == "nearest+conv":
            h = self.conv_before_upsample(h)
            for i in range(1, self.ups + 1):
                h = f.leaky_relu(getattr(self, f"conv_up{i}")(f.interpolate(h, scale_factor=2, mode="nearest")), 0.2)
            h = self.conv_last(f.leaky_relu(self.conv_hr(h), 0.2))
        else:
            h = x + self.conv_last(h)
        return (h / self.range + MEAN)[:, :, :height, :width]


def drawn(network, seed=0):
    """The network with weights that keep the signal's size, so that every part of it counts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if name.endswith("relative_position_bias_table"):
                parameter.copy_(noise)
            elif parameter.dim() == 1:
                parameter.copy_(0.1 * noise + (1 if "norm" in name and name.endswith("weight") else 0))
            else:
                parameter.copy_(noise * (1 / parameter[0].numel() ** 0.5))
    return network.eval()


def spandrel_swin_ir(folder):
    """spandrel's class from its wheel, fetched by pip; None where it is not to be had. Its other architectures, which need torchvision, are not
    imported: its packages stand for folders alone."""
    words = ["download", "-q", "--no-deps", "--only-binary", ":all:", "-d", folder, "spandrel==0.4.2"]
    done = subprocess.run([sys.executable, "-m", "pip", *map(str, words)], capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        return None
    wheel = next(folder.glob("spandrel-*.whl"))
    for name in ("spandrel", "spandrel.architectures", "spandrel.architectures.SwinIR"):
        package = types.ModuleType(name)
        package.__path__ = [f"{wheel}/{name.replace('.', '/')}"]
        sys.modules[name] = package
    sys.path.insert(0, str(wheel))
    try:
        return importlib.import_module("spandrel.architectures.SwinIR.__arch.SwinIR").SwinIR
    finally:
        sys.path.remove(str(wheel))
