#!/usr/bin/env python3
"""Trains the same samples on two ranks with batch 1 and on one rank with batch 2 and compares what comes out.

  world_size_parity.py [--steps 10] [--learning-rate 1e-4] [--adam-epsilon 1e-6]

The rows differ in length, so that a mean taken per rank instead of over all tokens shows; dropout is on and drawn per token,
so that it does not depend on the rank either. The adapters agree within 1e-5,
both ranks end with bit-identical weights, and a step all-reduces four bytes for each trainable number and no more.

About epsilon: Adam divides a gradient by its own size, so where a gradient is nothing but the rounding of a sum, its sign, and
with it a whole step of the learning rate, depends on the order of adding. With Adam's usual 1e-8 that meets a few numbers in
a million (here 6 of 2.4 million were further apart than 1e-5, by 6e-5 at most); 1e-6 is still below every gradient that
means anything and leaves the comparison about the sums themselves. --adam-epsilon 1e-8 shows the other.
"""
import argparse
import json

import torch
from safetensors.torch import load_file

import programs

LIMIT = 1e-5


def ragged_rows(count, vocabulary):
    generator = torch.Generator().manual_seed(7)
    lengths = torch.randint(8, 64, (count,), generator=generator).tolist()
    return [torch.randint(0, vocabulary, (length,), generator=generator).tolist() for length in lengths]


def largest_difference(one, other):
    assert one.keys() == other.keys()
    apart = sum(((one[key] - other[key]).abs() > LIMIT).sum().item() for key in one)
    print(f"     numbers further apart than {LIMIT:g}: {apart} of {sum(tensor.numel() for tensor in one.values())}")
    return max((one[key] - other[key]).abs().max().item() for key in one)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--adam-epsilon", type=float, default=1e-6)
    options = parser.parse_args()
    checks, scratch, directory = programs.Checks(), programs.scratch("world-size"), programs.model_directory()
    vocabulary = json.loads((directory / "config.json").read_text())["vocab_size"]
    job = {**programs.PLAIN_STEP, "model": str(directory), "torch_dtype": "float32", "max_steps": options.steps,
           "learning_rate": options.learning_rate, "adam_epsilon": options.adam_epsilon, "dataset_shuffle": True, "lora_dropout": 0.1,
           "dataset": [programs.write_rows(scratch / "rows.jsonl", ragged_rows(16, vocabulary))]}
    adapters, logs = {}, {}
    for ranks in (1, 2):
        output = scratch / f"ranks-{ranks}"
        logs[ranks] = programs.train({**job, "workers": ranks, "per_device_train_batch_size": 2 // ranks}, output, ranks)
        adapters[ranks] = load_file(str(programs.checkpoint(output) / "peft/adapter_model.safetensors"))
    checks.at_most(f"weights after {options.steps} steps, 2 ranks x 1 against 1 rank x 2, largest difference",
                   largest_difference(adapters[1], adapters[2]), LIMIT)
    losses = [abs(a["loss"] - b["loss"]) / abs(b["loss"]) for a, b in zip(logs[1], logs[2], strict=True)]
    checks.at_most("losses, largest relative difference", max(losses), 1e-5)
    trainable = sum(tensor.numel() for tensor in adapters[1].values())
    checks.equal("bytes all-reduced in a step", {record["all_reduced_bytes"] for record in logs[2]}, {4 * trainable})
    digests = programs.result(scratch / "ranks-2")["rank_digests"]
    checks.that("the ranks' weights are bit-identical", len(digests) == 2 and len(set(digests)) == 1, str(digests))
    checks.finish()


if __name__ == "__main__":
    main()
