#!/usr/bin/env python3
"""Compares our training losses with PEFT's, step by step, from the same adapter on the same token rows.

  loss_parity.py [--batch 2] [--length 256] [--steps 20] [--dtypes float32 bfloat16] [--init default random]

Limits: 1e-5 relative in float32, 5e-3 in bfloat16. `random` starts with B drawn too, so that every gradient is non-zero from
the first step on. After each run the adapter that we saved is loaded by PEFT, and its logits are compared with ours.
"""
import argparse
import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

import programs

LOSS_LIMIT = {"float32": 1e-5, "bfloat16": 5e-3}
LOGITS_LIMIT = 1e-4
ROWS_PER_BATCH_ROW = 8  # At most; then the rows come round again.
INIT = {"default": {}, "random": {"init_lora_weights": False}}


def peft(directory, *options):
    command = [sys.executable, programs.ROOT / "tests/oracle/peft_lora.py", directory, *options]
    return programs.must_run(command, timeout_s=1500).out


def token_rows(scratch, directory, count, length):
    """`count` rows of `length` tokens, cut from the quickstart's text."""
    programs.must_run([sys.executable, programs.ROOT / "deploy/devil_dataset.py", scratch], timeout_s=60)
    lines = (scratch / "devil.jsonl").read_text().splitlines()
    text = "\n".join(json.loads(line)["messages"][1]["content"] for line in lines)
    ids = AutoTokenizer.from_pretrained(directory)(text[:count * length * 8])["input_ids"]
    return [ids[row * length:(row + 1) * length] for row in range(count)]


def compare_losses(checks, scratch, directory, options, dtype, init, rows):
    name = f"{dtype}, {init} start"
    tokens = scratch / "tokens.json"
    tokens.write_text(json.dumps(rows))
    theirs = json.loads(peft(directory, "--adapter", scratch / init, "--tokens", tokens, "--steps", options.steps,
                             "--batch", options.batch, "--dtype", dtype).splitlines()[-1])
    job = {**programs.PLAIN_STEP, "model": str(directory), "torch_dtype": dtype, "adapters": [str(scratch / init)],
           "dataset": [programs.write_rows(scratch / "rows.jsonl", rows)], "max_steps": options.steps,
           "per_device_train_batch_size": options.batch}
    output = scratch / f"ours-{dtype}-{init}"
    ours = [record["loss"] for record in programs.train(job, output)]
    checks.equal(f"steps logged ({name})", len(ours), options.steps)
    worst = max((abs(a - b) / abs(b) for a, b in zip(ours, theirs["losses"])), default=float("inf"))
    checks.at_most(f"losses of {options.steps} steps, largest relative difference ({name})", worst, LOSS_LIMIT[dtype])
    same_rows = (len(ours) - 1) % (len(rows) // options.batch)  # The first step on the rows of the last.
    checks.that(f"the loss falls ({name})", ours[-1] < ours[same_rows], f"{ours[same_rows]:.5f} -> {ours[-1]:.5f}")
    return programs.checkpoint(output)


def compare_saved_adapter(checks, scratch, directory, saved, rows, name):
    """PEFT loads our adapter without a missing or unexpected key and computes our logits."""
    base = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    before = base(torch.tensor([rows[0]])).logits[0].detach()
    model = PeftModel.from_pretrained(base, str(saved / "peft")).eval()
    for layout in ("peft", "default"):
        ours = programs.logits(directory, rows[:2], scratch / f"{name}-{layout}.safetensors", adapter=saved / layout)
        for row, mine in zip(rows[:2], ours):
            with torch.no_grad():
                theirs = model(torch.tensor([row])).logits[0]
            checks.at_most(f"logits under the saved adapter ({name}, {layout}/)", (mine - theirs).abs().max().item(),
                           LOGITS_LIMIT)
    changed = (theirs.shape == before.shape) and (ours[0] - before).abs().max().item()
    checks.that(f"the adapter changes the logits ({name})", changed > 1e-2, f"{changed:.3g}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--length", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"], choices=LOSS_LIMIT)
    parser.add_argument("--init", nargs="+", default=["default", "random"], choices=INIT)
    options = parser.parse_args()
    checks, scratch, directory = programs.Checks(), programs.scratch("loss"), programs.model_directory()
    batches = min(ROWS_PER_BATCH_ROW, options.steps // 2)
    rows = token_rows(scratch, directory, options.batch * batches, options.length)
    for init in options.init:
        peft(directory, "--save-init", scratch / init, "--config", json.dumps(INIT[init]))
        for dtype in options.dtypes:
            saved = compare_losses(checks, scratch, directory, options, dtype, init, rows)
            if dtype == "float32":
                compare_saved_adapter(checks, scratch, directory, saved, rows, init)
    checks.finish()


if __name__ == "__main__":
    main()
