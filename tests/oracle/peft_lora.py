#!/usr/bin/env python3
"""LoRA fine-tuning of a Hugging Face decoder with PEFT: the other side of the loss comparison and of the benchmark.

  peft_lora.py MODEL --save-init DIR [--config JSON]                     writes an untrained adapter
  peft_lora.py MODEL --adapter DIR --tokens rows.json --steps 20 --save OUT   trains it, prints one JSON line

rows.json holds rows of token ids, all equally long. Step s trains on the rows s*batch … s*batch+batch-1, from the start
again when they are used up. AdamW, betas 0.9 and 0.95, constant learning rate, no clipping.
Printed: losses (one a step), tokens_per_s (without the first --warmup steps), first_step_s (from the start of the process
to the end of step one), peak_rss_mib, trainable (count of numbers).
"""
import time

STARTED = time.monotonic()

import argparse
import json
import resource
from pathlib import Path


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--adapter")
    parser.add_argument("--save-init")
    parser.add_argument("--save")
    parser.add_argument("--config", default="{}", help="LoraConfig fields as JSON, over r=8, lora_alpha=16, all-linear")
    parser.add_argument("--tokens")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--weight-decay", type=float, default=0.0)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def adapted_model(options):
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    if options.threads:
        torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    base = AutoModelForCausalLM.from_pretrained(options.model, dtype=getattr(torch, options.dtype)).to(options.device)
    if options.adapter:
        return PeftModel.from_pretrained(base, options.adapter, is_trainable=True)
    fields = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear", "task_type": "CAUSAL_LM",
              **json.loads(options.config)}
    return get_peft_model(base, LoraConfig(**fields))


def train(model, options):
    """Returns the losses, the seconds from process start to the end of step one, and tokens a second after warm-up."""
    import torch

    rows = torch.tensor(json.loads(Path(options.tokens).read_text()))
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=options.lr, betas=(0.9, 0.95), eps=1e-8,
                                  weight_decay=options.weight_decay)
    wait = torch.cuda.synchronize if options.device.startswith("cuda") else lambda: None
    losses, first_step_s, warm = [], None, time.monotonic()
    model.train()
    for step in range(options.steps):
        if step == options.warmup:
            wait()
            warm = time.monotonic()
        picked = [(step * options.batch + i) % len(rows) for i in range(options.batch)]
        ids = rows[picked].to(options.device)
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        first_step_s = first_step_s or time.monotonic() - STARTED
    wait()
    timed = options.batch * rows.shape[1] * (options.steps - options.warmup)
    return losses, first_step_s, timed / (time.monotonic() - warm)


def main():
    options = arguments()
    model = adapted_model(options)
    if options.save_init:
        model.save_pretrained(options.save_init)
        return
    losses, first_step_s, tokens_per_s = train(model, options)
    if options.save:
        model.save_pretrained(options.save)
    print(json.dumps({
        "peer": "peft", "dtype": options.dtype, "tokens_per_s": tokens_per_s, "first_step_s": first_step_s,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "trainable": sum(p.numel() for p in model.parameters() if p.requires_grad), "losses": losses}))


if __name__ == "__main__":
    main()
