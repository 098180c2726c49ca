"""Weighted combinations of LoRA adapters are what PEFT's add_weighted_adapter makes of the same files.

    .venv/bin/python tests/oracle/weighted_adapters.py build/<preset>/tests/peft_files_tool

Two adapters of different alphas (and, where the type allows it, ranks) are combined on both sides; the update of every
layer must be the same. DARE draws its masks at random and is left to the unit tests. Runs as a CTest test."""

import pathlib
import subprocess
import sys
import tempfile
import warnings

from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft_files import Tiny, check_equal, randomise
from safetensors.torch import load_file

# combination_type, weights, density, majority sign, ranks of the adapters, svd_clamp is never set
CASES = [
    ("linear", (0.7, 1.5), 1.0, "total", (2, 2)),
    ("linear", (0.7, -1.5), 1.0, "total", (2, 2)),
    ("cat", (0.7, -1.5), 1.0, "total", (2, 3)),
    ("svd", (0.7, -1.5), 1.0, "total", (2, 3)),
    ("ties", (0.7, 1.5), 0.6, "total", (2, 2)),
    ("ties", (0.7, 1.5), 0.6, "frequency", (2, 2)),
    ("ties_svd", (0.7, 1.5), 0.4, "total", (2, 3)),
    ("ties_svd", (0.7, 1.5), 0.4, "frequency", (2, 3)),
    ("magnitude_prune", (0.7, 1.5), 0.6, "total", (2, 2)),
    ("magnitude_prune_svd", (0.7, 1.5), 0.4, "total", (2, 3)),
]


def save_adapters(base, ranks, directory):
    """Adapters "one" and "two" with random values, in PEFT's layout."""
    for seed, (name, r) in enumerate(zip(("one", "two"), ranks)):
        config = LoraConfig(r=r, lora_alpha=3 + 4 * seed, target_modules=["q_proj", "up_proj"])
        model = get_peft_model(Tiny(base), config, adapter_name=name)
        randomise(model)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data.mul_(1 + seed).roll(seed, 0)
        model.save_pretrained(directory)


def main():
    warnings.filterwarnings("ignore")
    tool = pathlib.Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)

        def ours(*arguments):
            subprocess.run([tool, *map(str, arguments)], check=True, timeout=60)

        ours("base", scratch / "base.safetensors")
        base = load_file(scratch / "base.safetensors")
        for number, (kind, weights, density, sign, ranks) in enumerate(CASES):
            adapters = scratch / str(number)
            save_adapters(base, ranks, adapters)
            model = PeftModel.from_pretrained(Tiny(base), adapters / "one", adapter_name="one")
            model.load_adapter(adapters / "two", adapter_name="two")
            model.add_weighted_adapter(["one", "two"], list(weights), "combined", combination_type=kind,
                                       density=density, majority_sign_method=sign)
            theirs = {name: module.get_delta_weight("combined").detach()
                      for name, module in model.base_model.model.named_modules() if isinstance(module, LoraLayer)}
            pairs = [f"{name}={weight}" for name, weight in zip(("one", "two"), weights)]
            ours("combine", adapters, kind, density, sign, scratch / "ours.safetensors", *pairs)
            worst = check_equal(f"{kind} {sign}", theirs, load_file(scratch / "ours.safetensors"), limit=2e-5)
            print(f"{kind}, {sign}, weights {weights}: within {worst:.1e}")


if __name__ == "__main__":
    main()
