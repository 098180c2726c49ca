#!/usr/bin/env python3
"""Compares our logits and greedy continuations with transformers' on the quickstart's model, in float32.

Logits of every position within 1e-4 of transformers', in float32 or in float64: at 512 tokens its float32 is itself that far from
its float64 on some CPUs, so that two float32 results may lie further apart. 64 greedily chosen tokens identical to its float32's.
The prompts hold prose, code, other scripts and one row of 512 tokens.
"""
import json

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import programs

LOGITS_LIMIT = 1e-4
NEW_TOKENS = 64
PROMPTS = [
    "The capital of France is",
    "def quicksort(items):\n    if len(items) < 2:\n        return items\n",
    "Once upon a time, in a village by the sea,",
    "naïve café, 東京, Привет, 🙂:",
]


def rows_of(tokenizer):
    rows = [tokenizer(prompt)["input_ids"] for prompt in PROMPTS]
    long_text = " ".join(f"Line {i}: the quick brown fox jumps over {i * i} lazy dogs." for i in range(80))
    rows.append(tokenizer(long_text)["input_ids"][:512])
    rows.append([rows[0][0]])
    return rows


def greedy(model, tokenizer, prompt):
    ids = torch.tensor([tokenizer(prompt)["input_ids"]])
    with torch.no_grad():
        out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW_TOKENS, do_sample=False)
    return out[0, ids.shape[1]:].tolist()


def our_greedy(directory, prompts, scratch):
    file = scratch / "prompts.jsonl"
    file.write_text("".join(json.dumps({"prompt": prompt}, ensure_ascii=False) + "\n" for prompt in prompts))
    finished = programs.must_run(
        [programs.program("tunefleet-trainer"), "generate", "--model", directory, "--prompts", file, "--raw", "--json",
         "--max-new-tokens", NEW_TOKENS, "--temperature", 0, "--dtype", "float32"], timeout_s=600)
    return [json.loads(line)["token_ids"] for line in finished.out.splitlines() if line.startswith("{")]


def logits_of(model, rows):
    with torch.no_grad():
        return [model(torch.tensor([row])).logits[0] for row in rows]


def until(tokens, end):
    return tokens[:tokens.index(end)] if end in tokens else tokens


def main():
    checks, scratch, directory = programs.Checks(), programs.scratch("logits"), programs.model_directory()
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()
    rows = rows_of(tokenizer)
    ours = programs.logits(directory, rows, scratch / "ours.safetensors")
    end = model.generation_config.eos_token_id
    for prompt, mine in zip(PROMPTS, our_greedy(directory, PROMPTS, scratch), strict=True):
        theirs = greedy(model, tokenizer, prompt)
        checks.equal(f"greedy continuation of {prompt[:20]!r}", until(mine, end), until(theirs, end))
    float32 = logits_of(model, rows)
    for row, mine, theirs, exact in zip(rows, ours, float32, logits_of(model.double(), rows), strict=True):
        apart, off = ((mine - other).abs().max().item() for other in (theirs, exact))
        print(f"     {len(row)} tokens: {apart:.3g} from float32, {off:.3g} from float64")
        checks.at_most(f"logits of {len(row)} tokens, largest difference", min(apart, off), LOGITS_LIMIT)
    checks.finish()


if __name__ == "__main__":
    main()
