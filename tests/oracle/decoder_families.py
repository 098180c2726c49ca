#!/usr/bin/env python3
"""Compares our logits with transformers' for small random models of every decoder family we read, in float32.

Each family is compared on three rows, one of them longer than the original context of the scaled rope kinds. Also a LoRA
adapter that PEFT wrote for the family, drawn at random, and 32 greedily chosen tokens, which go through the KV cache.
"""
import json

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

import programs
import tiny_models

LIMIT = 1e-4
NEW_TOKENS = 32
PROMPT = "Define happiness."


def rows():
    generator = torch.Generator().manual_seed(3)
    return [torch.randint(3, tiny_models.VOCABULARY, (length,), generator=generator).tolist() for length in (1, 17, 200)]


def largest_difference(model, ours):
    with torch.no_grad():
        return max((mine - model(torch.tensor([row])).logits[0]).abs().max().item() for row, mine in zip(rows(), ours))


def compare_greedy(checks, model, directory, family):
    from transformers import AutoTokenizer

    finished = programs.must_run(
        [programs.program("tunefleet-trainer"), "generate", "--model", directory, "--prompt", PROMPT, "--raw", "--json",
         "--max-new-tokens", NEW_TOKENS, "--temperature", 0, "--dtype", "float32"], timeout_s=120)
    ours = next(json.loads(line)["token_ids"] for line in finished.out.splitlines() if line.startswith("{"))
    ids = torch.tensor([AutoTokenizer.from_pretrained(directory)(PROMPT)["input_ids"]])
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False)
    theirs = out[0, ids.shape[1]:].tolist()
    end = tiny_models.SIZES["eos_token_id"]
    checks.equal(f"{family}: greedy continuation", [t for t in ours if t != end], [t for t in theirs if t != end])


def compare(checks, scratch, family):
    directory = tiny_models.make(family, scratch)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    ours = programs.logits(directory, rows(), scratch / f"{family}.safetensors")
    checks.at_most(f"{family}: logits", largest_difference(model, ours), LIMIT)
    compare_greedy(checks, model, directory, family)
    adapted = get_peft_model(model, LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False,
                                               task_type="CAUSAL_LM")).eval()
    adapted.save_pretrained(scratch / f"{family}-adapter")
    ours = programs.logits(directory, rows(), scratch / f"{family}-lora.safetensors", adapter=scratch / f"{family}-adapter")
    checks.at_most(f"{family}: logits under a PEFT adapter", largest_difference(adapted, ours), LIMIT)


def main():
    checks, scratch = programs.Checks(), programs.scratch("families")
    for family in tiny_models.FAMILIES:
        compare(checks, scratch, family)
    checks.finish()


if __name__ == "__main__":
    main()
