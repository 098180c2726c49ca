#!/usr/bin/env python3
"""LoRA on 2-D convolutions and embeddings beside PEFT's: same numbers from the same weights, files that travel both ways.

    .venv/bin/python tests/oracle/peft_convolutions.py build/<preset>/tests/conv_net_tool

For each case PEFT puts LoRA on a small network of convolutions, every trained tensor gets small random values, PEFT saves it,
and our tool loads that folder. Compared, each relative to the largest number of PEFT's tensor: the output, with the adapter
off and with it merged, the gradients of the first step, and tensors, losses and output after three steps of AdamW. The folder
that we save then must hold what PEFT's holds and give our output in PEFT; a fresh adapter of ours must load there too and
change nothing. Runs as a CTest test."""
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from safetensors.torch import load_file, save_file

from conv_net import ConvNet
from peft_tuner_cases import case
from peft_tuners import (PROVENANCE, Oracle, compare_files, compare_start_values, compare_values, configuration, difference,
                         load_in_peft)

warnings.filterwarnings("ignore")


def conv_case(name, merges=True, **options):
    return case(name, "LoraConfig", merges=merges, task_type=None, noise=0.3, **options)


PLAIN = ["stem", "wide", "point"]
CASES = [
    conv_case("plain", r=2, lora_alpha=3, target_modules=PLAIN),
    conv_case("groups", r=4, lora_alpha=8, target_modules=["grouped", "point"], merges=False),
    conv_case("rslora-patterns", r=2, target_modules=PLAIN, use_rslora=True, rank_pattern={"wide": 4}, alpha_pattern={"stem": 3}),
    conv_case("dora", r=2, lora_alpha=4, target_modules=PLAIN, use_dora=True),
    conv_case("own-bias", r=2, target_modules=["stem", "point"], lora_bias=True),
    conv_case("own-bias-groups", r=2, target_modules=["grouped"], lora_bias=True, merges=False),
    conv_case("biases", r=2, target_modules=["point", "head"], bias="all"),
    conv_case("saved", r=2, target_modules=["stem", "head"], modules_to_save=["point"]),
    conv_case("embedding", r=2, lora_alpha=3, target_modules=["labels", "stem"]),
    conv_case("embedding-dora", r=2, lora_alpha=3, target_modules=["labels", "head"], use_dora=True),
]


class ConvOracle(Oracle):
    """One case on PEFT's side, on a batch of pictures."""

    def __init__(self, one, base, batch):
        super().__init__(one, base)
        self.batch = batch

    def loss(self):
        return (self.model(self.batch["x"]) - self.batch["target"]).square().mean()

    def values(self):
        out, parameters = {}, self.keys()
        out["output"] = output_of(self.model, self.batch)
        out["disabled_output"] = output_of(self.base, self.batch)
        if self.case.merges:
            self.model.merge_adapter()
            out["merged_output"] = output_of(self.model, self.batch)
            self.model.unmerge_adapter()
        optimizer = torch.optim.AdamW(parameters.values(), lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0)
        losses = []
        for step in range(3):
            optimizer.zero_grad()
            loss = self.loss()
            loss.backward()
            if step == 0:
                out.update({f"grad.{key}": parameter.grad.clone() for key, parameter in parameters.items()})
            optimizer.step()
            losses.append(loss.item())
        out["step_losses"] = torch.tensor(losses)
        out.update({f"step.{key}": parameter.detach().clone() for key, parameter in parameters.items()})
        out["final_output"] = output_of(self.model, self.batch)
        return out


def output_of(model, batch):
    with torch.no_grad():
        return model(batch["x"])


# What PEFT's and our configuration both have; PEFT writes every other setting of its own, too.
OURS = {"r", "lora_alpha", "lora_dropout", "use_rslora", "use_dora", "lora_bias", "init_lora_weights", "rank_pattern",
        "alpha_pattern", "target_modules", "exclude_modules", "modules_to_save", "bias"}


def check_fresh(tool, base, batch, theirs, ours):
    """A fresh adapter of ours with PEFT's options: the same tensors, zeros where PEFT has them, no effect."""
    options = {key: value for key, value in configuration(theirs).items() if key in OURS and value is not None}
    options["task_type"] = None
    subprocess.run([tool, "make", json.dumps(options), ours], check=True, timeout=60)
    problems = compare_start_values(theirs, ours)
    figure = difference(output_of(base, batch), output_of(load_in_peft(base, ours)[0], batch))
    return problems + ([f"our fresh adapter changes the output by {figure:.1e}"] if figure > 1e-5 else [])


def run_case(one, tool, base, batch, scratch):
    """The worst difference of each group of figures, and everything that is wrong."""
    torch.manual_seed(3)
    oracle = ConvOracle(one, base, batch)
    oracle.save(scratch / "fresh")
    oracle.draw()
    oracle.save(scratch / "drawn")
    wanted = oracle.values()
    oracle.save(scratch / "trained")
    save_file(batch, scratch / "batch.safetensors")
    (scratch / "ours").mkdir()
    subprocess.run([tool, "values", scratch / "drawn", scratch / "batch.safetensors", scratch / "ours"], check=True, timeout=60)
    ours = load_file(scratch / "ours/values.safetensors")
    worst, problems = compare_values(one, wanted, ours)
    if difference(wanted["disabled_output"], wanted["output"]) < 1e-3:
        problems.append("the case shows nothing: the adapter hardly moves the output")
    problems += compare_files(one, scratch / "trained", scratch / "ours/peft")
    reloaded, complaints = load_in_peft(base, scratch / "ours/peft")
    problems += [f"PEFT warns of our folder: {message[:300]}"
                 for message in complaints - load_in_peft(base, scratch / "trained")[1]]
    worst["reload"] = difference(output_of(reloaded, batch), ours["final_output"])
    if worst["reload"] > one.limit:
        problems.append(f"PEFT's output of our folder differs by {worst['reload']:.1e}")
    return worst, problems + check_fresh(tool, base, batch, scratch / "fresh", scratch / "our-fresh")


def main():
    tool = Path(sys.argv[1]).resolve()
    torch.set_num_threads(1)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="tunefleet-conv-") as scratch:
        scratch = Path(scratch)
        subprocess.run([tool, "base", scratch / "base.safetensors"], check=True, timeout=60)
        base = ConvNet(load_file(scratch / "base.safetensors"))
        generator = torch.Generator().manual_seed(5)
        batch = {"x": torch.randn(3, 3, 8, 8, generator=generator), "target": torch.randn(3, 5, generator=generator)}
        for one in CASES:
            (scratch / one.name).mkdir()
            worst, problems = run_case(one, tool, base, batch, scratch / one.name)
            figures = " ".join(f"{name} {worst[name]:.0e}" for name in sorted(worst))
            print(f"{'FAIL' if problems else 'ok  '} {one.name}: {figures}", *problems, sep="\n     ")
            failed += bool(problems)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
