"""Weighted combinations of LoRA adapters are what PEFT's add_weighted_adapter makes of the same files.

    .venv/bin/python tests/oracle/weighted_adapters.py build/<preset>/tests/conv_net_tool

Two adapters of different alphas (and, where the type allows it, ranks) on convolutions, an embedding and a linear layer are
combined on both sides; the update of every layer must be the same. With rsLoRA PEFT's result is too large by the root of its
rank (its configuration keeps use_rslora): there ours must be PEFT's without that factor, and "cat" the sum itself. DARE draws
its masks at random and is left to the unit tests. Runs as a CTest test."""

import json
import pathlib
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass

from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file

from conv_net import ConvNet
from peft_files import check_equal, randomise

NAMES = ("one", "two")


@dataclass
class Case:
    kind: str                  # combination_type
    weights: tuple = (0.7, 1.5)
    density: float = 1.0
    sign: str = "total"        # majority_sign_method
    ranks: tuple = (2, 2)
    clamp: float = None        # svd_clamp
    rslora: bool = False
    targets: tuple = ("stem", "wide", "point", "labels", "head")

    def how(self):
        how = {"combination_type": self.kind, "density": self.density, "majority_sign_method": self.sign}
        return how if self.clamp is None else how | {"svd_clamp": self.clamp}


CASES = [
    Case("linear"),
    Case("linear", (0.7, -1.5)),
    Case("cat", (0.7, -1.5), ranks=(2, 3)),
    Case("svd", (0.7, -1.5), ranks=(2, 3)),
    Case("svd", clamp=0.9, ranks=(2, 3)),
    Case("svd", clamp=0.99),
    Case("ties", density=0.6),
    Case("ties", density=0.6, sign="frequency"),
    Case("ties_svd", density=0.4, ranks=(2, 3)),
    Case("ties_svd", density=0.4, sign="frequency", ranks=(2, 3)),
    Case("ties_svd", density=0.4, clamp=0.95),
    Case("magnitude_prune", density=0.6),
    Case("magnitude_prune_svd", density=0.4, ranks=(2, 3)),
    Case("linear", rslora=True),
    Case("cat", (0.7, -1.5), ranks=(2, 3), rslora=True),
    Case("svd", (0.7, -1.5), ranks=(2, 3), rslora=True),
    Case("ties_svd", density=0.4, ranks=(2, 3), rslora=True),
]


def save_adapters(base, case, directory):
    """Adapters "one" and "two" with random values, in PEFT's layout."""
    for seed, (name, r) in enumerate(zip(NAMES, case.ranks)):
        config = LoraConfig(r=r, lora_alpha=3 + 4 * seed, target_modules=list(case.targets), use_rslora=case.rslora)
        model = get_peft_model(ConvNet(base), config, adapter_name=name)
        randomise(model)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.mul_(1 + seed).copy_(parameter.data.roll(seed, 0))
        model.save_pretrained(directory)


def deltas(model, adapter):
    return {name: module.get_delta_weight(adapter).detach()
            for name, module in model.base_model.model.named_modules() if isinstance(module, LoraLayer)}


def wanted(base, case, adapters):
    """What PEFT combines, put right for rsLoRA."""
    model = PeftModel.from_pretrained(ConvNet(base), adapters / NAMES[0], adapter_name=NAMES[0])
    model.load_adapter(adapters / NAMES[1], adapter_name=NAMES[1])
    model.add_weighted_adapter(list(NAMES), list(case.weights), "combined", svd_clamp=case.clamp, combination_type=case.kind,
                               density=case.density, majority_sign_method=case.sign)
    combined = deltas(model, "combined")
    if not case.rslora:
        return combined
    rank = model.peft_config["combined"].r
    combined = {name: delta / rank ** 0.5 for name, delta in combined.items()}
    if case.kind == "cat":
        one, two = (deltas(model, name) for name in NAMES)
        total = {name: case.weights[0] * one[name] + case.weights[1] * two[name] for name in combined}
        check_equal("PEFT's cat without its factor, and the sum", combined, total, limit=2e-5)
    return combined


def main():
    warnings.filterwarnings("ignore")
    tool = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)

        def ours(*arguments):
            subprocess.run([tool, *map(str, arguments)], check=True, timeout=60)

        ours("base", scratch / "base.safetensors")
        base = load_file(scratch / "base.safetensors")
        for number, case in enumerate(CASES):
            adapters = scratch / str(number)
            save_adapters(base, case, adapters)
            theirs = wanted(base, case, adapters)
            pairs = [f"{name}={weight}" for name, weight in zip(NAMES, case.weights)]
            ours("combine", adapters, json.dumps(case.how()), scratch / "ours.safetensors", *pairs)
            worst = check_equal(str(case), theirs, load_file(scratch / "ours.safetensors"),
                                limit=3e-5 if case.kind.endswith("svd") else 2e-5)  # Singular vectors in float32.
            print(f"{case}: within {worst:.1e}")


if __name__ == "__main__":
    main()
