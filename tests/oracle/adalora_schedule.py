#!/usr/bin/env python3
"""AdaLoRA's allocator beside PEFT's RankAllocator, over whole runs.

  .venv/bin/python tests/oracle/adalora_schedule.py build/<tree>/tests/tuner_values_tool

For each schedule PEFT trains AdaLoRA on a small random decoder for total_step steps, with update_and_allocate between the
optimizer's step and zero_grad. Our tool trains the same adapter for 1, 2, … total_step steps. After every one of them the
triplets that are left (rank_pattern) must be the same, their number must follow PEFT's budget_schedule, and the stored tensors
must be equal within 1e-5 of the largest. Exit code 1: a step differs.
"""
import argparse
import copy
import json
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch

import peft_tuners
import tiny_models
from peft_tuner_cases import case

LIMIT = 1e-5
TARGETS = ["q_proj", "v_proj", "down_proj"]
NOISE = {"lora_E": 0.3}
SCHEDULES = [
    case("plain", "AdaLoraConfig", init_r=6, target_r=2, total_step=20, target_modules=TARGETS, noises=NOISE),
    case("phases", "AdaLoraConfig", init_r=5, target_r=3, tinit=3, tfinal=5, deltaT=2, total_step=20, beta1=0.7, beta2=0.9,
         target_modules=TARGETS, noises=NOISE),
    case("harsh", "AdaLoraConfig", init_r=4, target_r=1, tinit=1, tfinal=2, deltaT=5, total_step=20, orth_reg_weight=0.1,
         target_modules=TARGETS, noises=NOISE),
]


def peft_run(oracle):
    """Yields after every step the budget, rank_pattern with plain names, and what PEFT's file would hold."""
    from peft import get_peft_model_state_dict
    model = oracle.model
    model.train()
    tuner, config = model.base_model, model.peft_config["default"]
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=peft_tuners.LR, betas=(0.9, 0.999), eps=peft_tuners.EPSILON, weight_decay=0.0)
    for step in range(1, config.total_step + 1):
        optimizer.zero_grad()
        peft_tuners.training_loss(model).backward()
        optimizer.step()
        tuner.update_and_allocate(step)
        pattern = copy.deepcopy(config.rank_pattern)
        stored = {key: tensor.clone() for key, tensor in get_peft_model_state_dict(model).items()}
        config.rank_pattern = pattern  # saving has shortened the names, which the next step would not know
        kept = {key.replace(".default", ""): value for key, value in (pattern or {}).items()}
        yield step, tuner.rankallocator.budget_schedule(step)[0], kept, stored


def our_step(tool, model_directory, folder, steps):
    """rank_pattern and the stored tensors after that many steps."""
    with tempfile.TemporaryDirectory(prefix="tunefleet-adalora-") as scratch:
        scratch = Path(scratch)
        peft_tuners.our_values(tool, model_directory, folder, scratch, steps)
        ours = scratch / "ours/peft"
        return peft_tuners.configuration(ours)["rank_pattern"] or {}, peft_tuners.stored(ours)


def compare(kept, stored, our_kept, our_stored):
    problems = []
    if kept != our_kept:
        other = sorted(key for key in kept.keys() | our_kept.keys() if kept.get(key) != our_kept.get(key))
        problems.append(f"other triplets are left in {len(other)} modules: {other[:3]}")
    for key in sorted(stored.keys() | our_stored.keys()):
        if key not in stored or key not in our_stored:
            problems.append(f"only one file has {key}")
        elif peft_tuners.difference(stored[key], our_stored[key]) > LIMIT:
            problems.append(f"{key} differs by {peft_tuners.difference(stored[key], our_stored[key]):.1e}")
    return problems


def run_schedule(schedule, tool, base, model_directory):
    oracle = peft_tuners.Oracle(schedule, base)
    oracle.draw()
    failed, curve = 0, []
    with tempfile.TemporaryDirectory(prefix="tunefleet-adalora-") as folder:
        oracle.save(folder)
        for step, budget, kept, stored in peft_run(oracle):
            our_kept, our_stored = our_step(tool, model_directory, folder, step)
            problems = compare(kept, stored, our_kept, our_stored)
            left = sum(map(sum, our_kept.values()))
            curve.append(left if our_kept else budget)
            if our_kept and step % schedule.options.get("deltaT", 1) == 0 and left != budget:
                problems.append(f"{left} triplets are left, PEFT's budget is {budget}")
            for problem in problems:
                print(f"          step {step}: {problem}")
            failed += bool(problems)
    print(f"{'FAIL   ' if failed else 'ok     '} {schedule.name}: triplets {' '.join(map(str, curve))}", flush=True)
    return failed


def main():
    import transformers
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", type=Path)
    tool = parser.parse_args().tool.resolve()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="tunefleet-tiny-") as models:
        directory = tiny_models.make("llama", models)
        base = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        failed = sum(run_schedule(schedule, tool, base, directory) for schedule in SCHEDULES)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
