"""The cases of ms_swift_values.py on small networks: the visual prompt, Side, Res-Tuning and SCEdit.

values.safetensors holds, beside what ms_swift_values.py says, the network's own parameters as network.KEY, its input (and
mask) and the target of the loss. tests/tuners/small_networks.h builds the same networks. Convolutions are 3x3, padding
1, with bias; GELU is the exact one.

TokenNet [B, T, 6] -> [B, T, 5]: embed Linear 6-8; blocks.0-2: x + proj(attention(qkv(x))), one head of 8, scores / sqrt(8)
    plus the mask, then x + tanh(fc(x)); head Linear 8-5. mask [B, 1, T] is added to the scores of every block.
BodyNet [B, 8] -> [B, 3]: body Sequential(0: Linear 8-8, 1: tanh, 2: Linear 8-8); head Linear 8-3.
PictureNet [B, 3, 16, 16] -> [B, 3]: features: conv 3-6 stride 2, relu, mean over the picture, fc Linear 6-7; head Linear 7-3.
StackNet [B, T, 6] -> [B, T, 5]: embed Linear 6-8; blocks.0-2: x + tanh(fc(x)); last Linear 8-8; head Linear 8-5.
PyramidNet [B, 3, 8, 8] -> [B, 2, 8, 8], C channels in down.0: down.0 conv 3-C, down.1 conv C-8 stride 2, down.2 conv 8-8
    stride 2, each followed by tanh outside of it; mid conv 8-8; nearest x4; expand conv 8-C; out conv C-2.
SkipNet [B, 3, 8, 8] -> [B, 3, 8, 8]: a = conv_in 3-4; b = down.0 4-4 stride 2 of tanh a; c = down.1 4-8 stride 2 of tanh b;
    h = mid 8-8 of tanh c; h = up.0(h, c) 16-4 (a block with one conv: conv of the two concatenated); nearest x2 of tanh h;
    h = up.1(h, b) 8-4; nearest x2 of tanh h; conv_out 4-3.
"""
import torch
from ms_swift_record import Missing, case_directory, record, write_case
from torch import nn
from torch.nn import functional as F


def conv(inputs, outputs, stride=1):
    return nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)


class AttentionBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.proj, self.fc = nn.Linear(8, 24), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x, mask=None):
        q, k, v = self.qkv(x).chunk(3, -1)
        scores = q @ k.transpose(1, 2) / 8 ** 0.5
        if mask is not None:
            scores = scores + mask
        x = x + self.proj(scores.softmax(-1) @ v)
        return x + torch.tanh(self.fc(x))


class TokenNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Linear(6, 8), nn.Linear(8, 5)
        self.blocks = nn.ModuleList(AttentionBlock() for _ in range(3))

    def forward(self, x, mask=None):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x, mask=mask)
        return self.head(x)


class BodyNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        return self.head(self.body(x))


class Features(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = conv(3, 6, 2), nn.Linear(6, 7)

    def forward(self, x):
        return self.fc(F.relu(self.conv(x)).mean((2, 3)))


class PictureNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features, self.head = Features(), nn.Linear(7, 3)

    def forward(self, x):
        return self.head(self.features(x))


class ResidualBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x):
        return x + torch.tanh(self.fc(x))


class StackNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.last, self.head = nn.Linear(6, 8), nn.Linear(8, 8), nn.Linear(8, 5)
        self.blocks = nn.ModuleList(ResidualBlock() for _ in range(3))

    def forward(self, x):
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.last(x))


class PyramidNet(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.down = nn.ModuleList([conv(3, channels), conv(channels, 8, 2), conv(8, 8, 2)])
        self.mid, self.expand, self.out = conv(8, 8), conv(8, channels), conv(channels, 2)

    def forward(self, x):
        for down in self.down:
            x = torch.tanh(down(x))
        return self.out(self.expand(F.interpolate(self.mid(x), scale_factor=4, mode="nearest")))


class UpBlock(nn.Module):
    def __init__(self, inputs):
        super().__init__()
        self.conv = conv(inputs, 4)

    def forward(self, x):
        return self.conv(x)


class SkipNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_in, self.mid, self.conv_out = conv(3, 4), conv(8, 8), conv(4, 3)
        self.down = nn.ModuleList([conv(4, 4, 2), conv(4, 8, 2)])
        self.up = nn.ModuleList([UpBlock(16), UpBlock(8)])

    def forward(self, x):
        a = self.conv_in(x)
        b = self.down[0](torch.tanh(a))
        c = self.down[1](torch.tanh(b))
        h = self.mid(torch.tanh(c))
        for up, skip in zip(self.up, (c, b)):
            h = F.interpolate(torch.tanh(up(torch.cat([h, skip], 1))), scale_factor=2, mode="nearest")
        return self.conv_out(h)


def network_case(network, input_shape, config, mask_shape=None):
    """A case from a network, the shape of its input and a SwiftConfig."""
    def make(case):
        from swift.tuners import Swift

        torch.manual_seed(17)
        base = network().eval()
        values = {"network." + key: value.clone() for key, value in base.state_dict().items()}
        values["input"] = torch.randn(input_shape)
        inputs = [values["input"]]
        named = {}
        if mask_shape:
            values["mask"] = torch.randn(mask_shape)
            named["mask"] = values["mask"]
        with torch.no_grad():
            values["base_output"] = base(*inputs, **named)
        model = Swift.prepare_model(base, config())
        with torch.no_grad():
            values["target"] = torch.randn(model(*inputs, **named).shape)
            model.set_active_adapters([])
            assert config().to_dict().get("extract_embedding") or \
                torch.equal(model(*inputs, **named), values["base_output"]), case
            model.set_active_adapters(["default"])
        record(case, model, lambda: model(*inputs, **named), lambda y: (y - values["target"]).square().mean(), values,
               std=0.3, output="output")
    return make


def side_alexnet(case):
    """The side network "alexnet", whose 2.5 million weights are not stored: element i of the tensor KEY of the adapter's
    file is sin(0.37 i + len(KEY)) * 1.7 / sqrt(its fan-in), biases and alpha sin(0.37 i + len(KEY)) * 0.1. values: input
    [1, 3, 64, 64], output of the side network for dim 5, mixed with zeros by alpha; case.json: shapes, by key."""
    try:
        import torchvision
    except ImportError:
        raise Missing("torchvision 0.21.0") from None
    from swift.tuners.side import SideModule

    original = torchvision.models.alexnet
    torchvision.models.alexnet = lambda pretrained: original(weights=None)
    side_module = SideModule(5, "default", "features", "alexnet")
    shapes = {}
    with torch.no_grad():
        for name, parameter in side_module.named_parameters():
            key = "features.side_default." + name
            wave = torch.sin(0.37 * torch.arange(parameter.numel(), dtype=torch.float64) + len(key))
            fan_in = parameter[0].numel() if parameter.dim() > 1 else 0
            parameter.copy_((wave * (1.7 / fan_in ** 0.5 if fan_in else 0.1)).reshape(parameter.shape))
            shapes[key] = list(parameter.shape)
    side_module.set_activation("default", True)
    side_module.eval()
    picture = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        output = side_module(picture, torch.zeros(1, 5))
    write_case(case_directory(case), {"input": picture, "output": output}, dict(shapes=shapes))


def prompt(**fields):
    from swift.tuners import PromptConfig
    return PromptConfig(**{**dict(dim=8, embedding_pos=0, prompt_length=3, target_modules=r"blocks\.\d+"), **fields})


def side(**fields):
    from swift.tuners import SideConfig
    return SideConfig(**fields)


def restuning(**fields):
    from swift.tuners import ResTuningConfig
    return ResTuningConfig(**{**dict(dims=8, stem_modules=r"blocks\.\d+", target_modules="head"), **fields})


def pyramid(**fields):
    return restuning(**{**dict(root_modules="mid", root_modules_hook="output", stem_modules=["down.2", "down.1", "down.0"],
                               target_modules="out"), **fields})


def scedit(**fields):
    from swift.tuners import SCETuningConfig
    return SCETuningConfig(**fields)


def weighted(weight, length=4):
    return {"res_adapter": {"adapter_length": length, "adapter_weight": weight}}


WEIGHTS = [dict(lateral_cfg=weighted("gate"), vertical_cfg=weighted("scale", [6, 5, 4])),
           dict(lateral_cfg=weighted("scale_channel"), vertical_cfg="identity"),
           dict(lateral_cfg=weighted("scalar_0.5"), vertical_cfg=weighted("scale_kv"))]
ZERO = [dict(lateral_cfg="res_adapter", vertical_cfg="zero"), dict(lateral_cfg="zero", vertical_cfg="res_adapter"),
        dict(lateral_cfg="identity", vertical_cfg="res_adapter")]
GROUP = dict(lateral_cfg={"res_group_adapter": {"head": 2, "scale_factor": 3, "adapter_weight": "scale_channel"}},
             vertical_cfg="res_group_adapter")
GROUPS = [dict(GROUP, aux_cfg="upsample"), dict(GROUP, aux_cfg={"upsample": {}}), GROUP]

TOKENS, PICTURE, SMALL_PICTURE = (2, 5, 6), (2, 3, 16, 16), (2, 3, 8, 8)
CASES = {
    "prompt_front": network_case(TokenNet, TOKENS, prompt),
    "prompt_back": network_case(TokenNet, TOKENS, lambda: prompt(
        attach_front=False, dim=[8, 8], prompt_length=2, target_modules=["blocks.0", "blocks.1"])),
    "prompt_mask": network_case(TokenNet, TOKENS, lambda: prompt(attention_mask_pos="mask", attention_mask_value=-1.5),
                                mask_shape=(2, 1, 5)),
    "prompt_extract": network_case(TokenNet, TOKENS, lambda: prompt(target_modules=r"blocks\.0",
                                                                    extract_embedding=True)),
    "side_mlp": network_case(BodyNet, (4, 8), lambda: side(dim=8, target_modules="body", side_module_name="mlp")),
    "side_fcn4": network_case(PictureNet, PICTURE, lambda: side(dim=7, target_modules="features")),
    "side_alexnet": side_alexnet,
    "restuning_res_adapter": network_case(StackNet, TOKENS, lambda: restuning(tuner_cfg="res_adapter",
                                                                              root_modules=r"blocks\.0")),
    "restuning_weights": network_case(StackNet, TOKENS, lambda: restuning(
        tuner_cfg=WEIGHTS, root_modules="embed", root_modules_hook="output", target_modules="last",
        target_modules_hook="output")),
    "restuning_zero": network_case(StackNet, TOKENS, lambda: restuning(
        tuner_cfg=ZERO, root_modules="embed", stem_modules_hook="input")),
    "restuning_group": network_case(lambda: PyramidNet(8), SMALL_PICTURE, lambda: pyramid(tuner_cfg=GROUPS)),
    "restuning_upsample": network_case(lambda: PyramidNet(4), SMALL_PICTURE, lambda: pyramid(
        tuner_cfg="res_adapter", dims=[8, 8, 4], use_upsample=True, upsample_out_channels=[8, 4, 0])),
    "scedit_decoder": network_case(SkipNet, SMALL_PICTURE, lambda: scedit(
        dims=[8, 4], target_modules=r"up\.\d+", down_ratio=0.5)),
    "scedit_encoder": network_case(SkipNet, SMALL_PICTURE, lambda: scedit(
        dims=[4, 8], target_modules=["conv_in", "down"], tuner_mode="encoder")),
}
