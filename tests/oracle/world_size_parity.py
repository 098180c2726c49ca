#!/usr/bin/env python3
"""Trains the same samples on two ranks with batch 1 and on one rank with batch 2 and compares what comes out.

  world_size_parity.py [--tuner lora|adalora …] [--model DIR|small] [--steps 10] [--learning-rate 1e-4] [--adam-epsilon 1e-6]

The rows differ in length, so that a mean taken per rank instead of over all tokens shows; dropout is on and drawn per token,
so that it does not depend on the rank either. The adapters agree within 1e-5,
both ranks end with bit-identical weights, and a step all-reduces four bytes for each trainable number and no more.

AdaLoRA shares out its ranks by the importance of summed gradients and adds a penalty to the loss: with importance per rank, or
the penalty on every rank, the run on two ranks would keep other triplets and end elsewhere. Which are left is the same, and
fewer than at the start.

About epsilon: Adam divides a gradient by its own size, so where a gradient is nothing but the rounding of a sum, its sign, and
with it a whole step of the learning rate, depends on the order of adding. With Adam's usual 1e-8 that meets a few numbers in
a million (here 6 of 2.4 million were further apart than 1e-5, by 6e-5 at most); 1e-6 is still below every gradient that
means anything and leaves the comparison about the sums themselves. --adam-epsilon 1e-8 shows the other.
"""
import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file

import programs
import tiny_models

LIMIT = 1e-5
# What a tuner's job has beside the common keys; None takes one away.
TUNERS = {
    "lora": {},
    "adalora": {"tuner_type": "adalora", "lora_rank": None, "adalora_init_r": 6, "adalora_target_r": 3, "adalora_tinit": 2,
                "adalora_tfinal": 2, "adalora_deltaT": 2},
}


def ragged_rows(count, vocabulary):
    generator = torch.Generator().manual_seed(7)
    lengths = torch.randint(8, 64, (count,), generator=generator).tolist()
    return [torch.randint(0, vocabulary, (length,), generator=generator).tolist() for length in lengths]


def largest_difference(one, other):
    assert one.keys() == other.keys()
    apart = sum(((one[key] - other[key]).abs() > LIMIT).sum().item() for key in one)
    print(f"     numbers further apart than {LIMIT:g}: {apart} of {sum(tensor.numel() for tensor in one.values())}")
    return max((one[key] - other[key]).abs().max().item() for key in one)


def job_of(tuner, options, directory, data):
    job = {**programs.PLAIN_STEP, "model": str(directory), "torch_dtype": "float32", "max_steps": options.steps,
           "learning_rate": options.learning_rate, "adam_epsilon": options.adam_epsilon, "dataset_shuffle": True,
           "lora_dropout": 0.1, "dataset": [data], **TUNERS[tuner]}
    return {key: value for key, value in job.items() if value is not None}


def compare_ranks(checks, configs, options):
    """What AdaLoRA has left of each layer, by the adapters' configurations."""
    kept = {ranks: config["rank_pattern"] for ranks, config in configs.items()}
    checks.that("adalora: two ranks keep the triplets that one keeps", kept[1] == kept[2], "" if kept[1] == kept[2] else str(kept))
    left = [sum(layer) for layer in kept[1].values()]
    wanted = TUNERS["adalora"]["adalora_target_r"] * len(left)
    checks.equal(f"adalora: triplets left after {options.steps} steps", sum(left), wanted)
    checks.that("adalora: the layers' ranks differ, so that something was shared out", len(set(left)) > 1, str(left))


def compare(checks, scratch, tuner, directory, options):
    vocabulary = json.loads((directory / "config.json").read_text())["vocab_size"]
    job = job_of(tuner, options, directory, programs.write_rows(scratch / "rows.jsonl", ragged_rows(16, vocabulary)))
    adapters, configs, logs = {}, {}, {}
    for ranks in (1, 2):
        output = scratch / f"{tuner}-{ranks}"
        logs[ranks] = programs.train({**job, "workers": ranks, "per_device_train_batch_size": 2 // ranks}, output, ranks)
        saved = programs.checkpoint(output) / "peft"
        adapters[ranks] = load_file(str(saved / "adapter_model.safetensors"))
        configs[ranks] = json.loads((saved / "adapter_config.json").read_text())
    if tuner == "adalora":
        compare_ranks(checks, configs, options)
    checks.at_most(f"{tuner}: weights after {options.steps} steps, 2 ranks x 1 against 1 rank x 2, largest difference",
                   largest_difference(adapters[1], adapters[2]), LIMIT)
    losses = [abs(a["loss"] - b["loss"]) / abs(b["loss"]) for a, b in zip(logs[1], logs[2], strict=True)]
    checks.at_most(f"{tuner}: losses, largest relative difference", max(losses), 1e-5)
    result = programs.result(scratch / f"{tuner}-2")
    checks.equal(f"{tuner}: bytes all-reduced in a step", {record["all_reduced_bytes"] for record in logs[2]},
                 {4 * result["trainable_parameters"]})
    digests = result["rank_digests"]
    checks.that(f"{tuner}: the ranks' weights are bit-identical", len(digests) == 2 and len(set(digests)) == 1, str(digests))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tuner", nargs="+", default=["lora"], choices=TUNERS)
    parser.add_argument("--model", help="a Hugging Face directory, or small: a random model; default: the prepared model")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--adam-epsilon", type=float, default=1e-6)
    options = parser.parse_args()
    checks, scratch = programs.Checks(), programs.scratch("world-size")
    if options.model == "small":
        directory = tiny_models.make("llama", scratch)
    else:
        directory = Path(options.model) if options.model else programs.model_directory()
    for tuner in options.tuner:
        compare(checks, scratch, tuner, directory, options)
    checks.finish()


if __name__ == "__main__":
    main()
