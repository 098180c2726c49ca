"""Adapters travel between us and PEFT, both ways, and mean the same on both sides.

    .venv/bin/python tests/oracle/peft_files.py build/<preset>/tests/peft_files_tool

For every case PEFT makes an adapter with random values and saves it; our reader loads it, and the delta of every layer
and every trained copy must be PEFT's. Then we make one, and PEFT must load it with ours. Runs as a CTest test."""

import pathlib
import subprocess
import sys
import tempfile
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.utils import ModulesToSaveWrapper
from safetensors.torch import load_file
from torch import nn

# Kept beside the cases of tests/tuners/peft_files_tool.cpp.
CASES = {
    "plain": dict(r=2, target_modules=["q_proj", "v_proj"]),
    "all_linear": dict(r=2, lora_alpha=5.5, target_modules="all-linear", exclude_modules=["lm_head"], use_rslora=True),
    "patterns": dict(
        r=2, target_modules=r".*\.(up|down|q)_proj", rank_pattern={r"layers\.1\..*": 3}, alpha_pattern={"up_proj": 1}
    ),
    "saved": dict(
        r=1, target_modules=["q_proj"], modules_to_save=["lm_head", "norm"], layers_to_transform=[1], bias="lora_only"
    ),
    "biases": dict(r=1, target_modules=["o_proj", "q_proj"], bias="all"),
    "saved_biases": dict(r=1, target_modules=["q_proj"], modules_to_save=["v_proj"], bias="all"),
    "head": dict(r=2, target_modules=["lm_head"]),
}

# With bias="all" PEFT also writes a saved module's bias under the names it has inside the wrapper.
WRAPPED = (".modules_to_save.", ".original_module.")


class Norm(nn.Module):
    def __init__(self, size):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))


class Tiny(nn.Module):
    """The modules of tests/tuners/tiny_model.h under the same names."""

    def __init__(self, base):
        super().__init__()
        self.model = nn.Module()
        self.model.embed_tokens = nn.Embedding(11, 6)
        self.model.layers = nn.ModuleList()
        for _ in range(2):
            layer = nn.Module()
            layer.input_layernorm = Norm(6)
            layer.self_attn = nn.Module()
            layer.self_attn.q_proj = nn.Linear(6, 6)
            layer.self_attn.v_proj = nn.Linear(6, 4)
            layer.self_attn.o_proj = nn.Linear(4, 6, bias=False)
            layer.mlp = nn.Module()
            layer.mlp.up_proj = nn.Linear(6, 9, bias=False)
            layer.mlp.down_proj = nn.Linear(9, 6, bias=False)
            self.model.layers.append(layer)
        self.model.norm = Norm(6)
        self.lm_head = nn.Linear(6, 11, bias=False)
        self.load_state_dict(base)

    def get_input_embeddings(self):
        return self.model.embed_tokens

    def get_output_embeddings(self):
        return self.lm_head

    def prepare_inputs_for_generation(self, *args, **kwargs):
        """PEFT asks any model of task_type CAUSAL_LM for this; nothing is generated here."""
        raise RuntimeError("this model does not generate")


def randomise(model):
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)


def effect(model):
    """Deltas and trained copies by the names they have in the base."""
    found = {}
    for name, module in model.base_model.model.named_modules():
        if isinstance(module, LoraLayer):
            found[name] = module.get_delta_weight("default")
        if isinstance(module, ModulesToSaveWrapper):
            for leaf, value in module.modules_to_save["default"].named_parameters():
                found[f"{name}.{leaf}"] = value
    bias = model.peft_config["default"].bias
    for name, value in model.base_model.model.named_parameters():
        wanted = name.endswith(".bias") if bias == "all" else name.endswith(".base_layer.bias")
        if bias != "none" and wanted and not any(part in name for part in ("lora_", *WRAPPED)):
            found[name.replace(".base_layer", "")] = value
    return {name: value.detach() for name, value in found.items()}


def check_equal(case, theirs, ours, limit=1e-6):
    if theirs.keys() != ours.keys():
        sys.exit(f"{case}: other tensors: {sorted(theirs.keys() ^ ours.keys())}")
    if not all(value.abs().max() > 0 for value in theirs.values()):
        sys.exit(f"{case}: an adapter of zeros shows nothing")
    worst = max((theirs[name] - ours[name]).abs().max().item() for name in ours)
    if worst > limit:
        sys.exit(f"{case}: the adapters differ by {worst}")
    return worst


def check_pickle(case, directory):
    """torch.load reads our adapter_model.bin without unsafe pickles, and it holds what the safetensors file holds."""
    pickled = torch.load(directory / "default" / "adapter_model.bin", weights_only=True)
    safe = load_file(directory / "safe" / "default" / "adapter_model.safetensors")
    if pickled.keys() != safe.keys() or not all(torch.equal(pickled[name], safe[name]) for name in safe):
        sys.exit(f"{case}: adapter_model.bin holds something else than adapter_model.safetensors")


def main():
    warnings.filterwarnings("ignore")
    tool = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)

        def ours(*arguments):
            subprocess.run([tool, *map(str, arguments)], check=True, timeout=60)

        ours("base", scratch / "base.safetensors")
        base = load_file(scratch / "base.safetensors")
        for case, options in CASES.items():
            model = get_peft_model(Tiny(base), LoraConfig(**options))
            randomise(model)
            model.save_pretrained(scratch / case)
            ours("read", scratch / case, scratch / "effect.safetensors")
            read = check_equal(f"{case}, saved by PEFT", effect(model), load_file(scratch / "effect.safetensors"))

            ours("write", case, scratch / f"our_{case}", scratch / "effect.safetensors")
            loaded = PeftModel.from_pretrained(Tiny(base), scratch / f"our_{case}")
            wrote = check_equal(f"{case}, saved by us", effect(loaded), load_file(scratch / "effect.safetensors"))
            theirs = load_file(scratch / case / "adapter_model.safetensors").keys()
            own = load_file(scratch / f"our_{case}" / "adapter_model.safetensors").keys()
            extra = {key for key in theirs ^ own if not any(part in key for part in ("lm_head.base_layer.", *WRAPPED))}
            if extra:
                sys.exit(f"{case}: the files name other tensors: {sorted(extra)}")
            ours("pickle", case, scratch / f"pickle_{case}")
            check_pickle(case, scratch / f"pickle_{case}")
            print(f"{case}: {len(own)} tensors, read within {read:.1e}, written within {wrote:.1e}")


if __name__ == "__main__":
    main()
