#!/usr/bin/env python3
"""Prints the learning rates of transformers' schedulers as JSON: what tests/worker/trainer/schedules.json holds.

  schedules.py > tests/worker/trainer/schedules.json
"""
import json
import sys

import torch
from transformers import get_scheduler

NAMES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


def rates(kind, warmup, total):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2e-3)
    scheduler = get_scheduler(NAMES[kind], optimizer, num_warmup_steps=warmup, num_training_steps=total)
    out = []
    for _ in range(total):
        out.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return out


cases = [dict(type=kind, warmup=warmup, total=total, rates=rates(kind, warmup, total))
         for kind in NAMES for warmup, total in [(0, 1), (0, 7), (3, 10), (10, 10), (4, 25)]]
json.dump(cases, sys.stdout, indent=1)
print()
