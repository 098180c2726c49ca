#!/usr/bin/env python3
"""Full tuning, LISA, GaLore and Q-GaLore as jobs, on small random models.

  full_tuning.py [--only parity kinds lisa start] [--kinds full lisa galore …]

parity  Full tuning takes the steps of transformers with torch.optim.AdamW; what it saves is a model that transformers loads,
        tokenizer included, with the weights that transformers trained itself; families with tied heads, biases, head norms.
kinds   Each way to train whole parameters: the loss falls, and a run that is stopped and resumed ends with the bits of an
        undisturbed one, on one rank and (some) on two, whose ranks hold the same bits.
lisa    From step to step only the drawn layer and what is in no layer change; the same on two ranks; a step sends their
        gradients and no others.
start   A checkpoint of full tuning is the `model` of another job.
"""
import argparse
import json
import random

import torch
from safetensors.torch import load_file

import programs
import tiny_models

STEPS, STOP = 8, 3
JOB = dict(tuner_type="full", torch_dtype="float32", device="cpu", max_steps=STEPS, save_steps=STOP, learning_rate=1e-3,
           per_device_train_batch_size=2, gradient_accumulation_steps=1, warmup_steps=2, logging_steps=1)
GALORE = dict(use_galore=True, galore_rank=4, galore_update_proj_gap=2)
Q_GALORE = {**GALORE, "galore_quantization": True, "galore_proj_quant": True, "galore_proj_group_size": 16,
            "galore_queue_size": 1}
EACH = {"galore_optim_per_parameter": True}
KINDS = {
    "full": {},
    "accumulated": dict(per_device_train_batch_size=1, gradient_accumulation_steps=2),
    "frozen": dict(freeze_parameters=["model.embed_tokens", "model.layers.0"]),
    "adafactor": dict(optim="adafactor"),
    "lisa": dict(lisa_activated_layers=1, lisa_step_interval=2),
    "galore": GALORE,
    "galore-randomized": {**GALORE, "galore_svd": "randomized"},
    "galore-full": {**GALORE, "galore_proj_type": "full"},
    "galore-adafactor": {**GALORE, "optim": "adafactor"},
    "galore-each": {**GALORE, **EACH},
    "galore-lisa": {**GALORE, "lisa_activated_layers": 1, "lisa_step_interval": 2},
    "q-galore": Q_GALORE,
    "q-galore-each": {**Q_GALORE, **EACH, "learning_rate": 1e-2},
}
ON_TWO_RANKS = {"full", "lisa", "galore-each", "q-galore"}
PARITY = ["llama-tied", "llama", "qwen2", "qwen3", "mistral"]


def token_rows(count=16, seed=9):
    generator = random.Random(seed)
    return [[generator.randrange(3, 300) for _ in range(generator.randrange(5, 40))] for _ in range(count)]


def deep_model(scratch):
    """A llama of four layers, untied."""
    tiny_models.FAMILIES["deep"] = ("LlamaConfig", dict(num_hidden_layers=4, tie_word_embeddings=False), None)
    return tiny_models.make("deep", scratch)


def layers_of(weights):
    """Layer number (or "" for what is in none) -> its tensors."""
    layers = {}
    for path, tensor in weights.items():
        parts = path.split(".")
        layers.setdefault(parts[2] if parts[1] == "layers" else "", {})[path] = tensor
    return layers


# -- parity -----------------------------------------------------------------------------------------------------------

def trained_by_transformers(directory, rows, steps, decay):
    """Losses and the model after `steps` of AdamW, one row a step."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32, attn_implementation="eager").train()
    named = list(model.named_parameters())
    matrices = [p for n, p in named if p.dim() >= 2]
    vectors = [p for n, p in named if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}],
                                  lr=1e-3, betas=(0.9, 0.95), eps=1e-6)
    losses = []
    for step in range(steps):
        ids = torch.tensor([rows[step]])
        loss = model(input_ids=ids, labels=ids).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model


def compare_with_transformers(checks, scratch, family):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    directory, rows, steps = tiny_models.make(family, scratch), token_rows(), 6
    theirs, model = trained_by_transformers(directory, rows, steps, decay=0.1)
    job = {**JOB, "model": str(directory), "dataset": [programs.write_rows(scratch / f"{family}.jsonl", rows)],
           "dataset_shuffle": False, "per_device_train_batch_size": 1, "warmup_steps": 0, "max_grad_norm": 0.0,
           "lr_scheduler_type": "constant", "adam_epsilon": 1e-6, "weight_decay": 0.1, "max_steps": steps}
    output = scratch / f"parity-{family}"
    ours = [record["loss"] for record in programs.train(job, output)]
    worst = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))
    checks.at_most(f"{family}: losses of {steps} steps, largest relative difference", worst, 1e-5)
    saved = programs.checkpoint(output)
    loaded, report = AutoModelForCausalLM.from_pretrained(saved, output_loading_info=True)
    checks.equal(f"{family}: keys that transformers misses or does not know",
                 [sorted(report["missing_keys"]), sorted(report["unexpected_keys"])], [[], []])
    checks.equal(f"{family}: dtype it loads in", loaded.dtype, torch.float32)
    trained = dict(model.named_parameters())
    difference = max((p - trained[n]).abs().max().item() for n, p in loaded.named_parameters())
    checks.at_most(f"{family}: weights, largest difference (a step is 1e-3)", difference, 1e-4)
    checks.equal(f"{family}: tokenizer", AutoTokenizer.from_pretrained(saved)("A line.")["input_ids"],
                 AutoTokenizer.from_pretrained(directory)("A line.")["input_ids"])


def parity(checks, scratch, _options):
    for family in PARITY:
        compare_with_transformers(checks, scratch, family)


# -- kinds ------------------------------------------------------------------------------------------------------------

def contents(checkpoint):
    return {str(path.relative_to(checkpoint)): path.read_bytes() for path in sorted(checkpoint.rglob("*.safetensors"))}


def compare_resumed(checks, scratch, job, kind, ranks):
    what = f"{kind}, {ranks} rank{'s' if ranks > 1 else ''}"
    job = {**job, **KINDS[kind], "workers": ranks}
    if ranks > 1:
        job["per_device_train_batch_size"] = 1
    whole, resumed = scratch / f"{kind}-{ranks}", scratch / f"{kind}-{ranks}-resumed"
    losses = [record["loss"] for record in programs.train(job, whole, ranks)]
    checks.that(f"{what}: the loss falls", sum(losses[-2:]) < sum(losses[:2]), f"{losses[0]:.4f} -> {losses[-1]:.4f}")
    first = whole / f"checkpoint-{STOP}"
    records = programs.train({**job, "resume_from_checkpoint": str(first)}, resumed, ranks)
    checks.equal(f"{what}: steps after the checkpoint", len(records), STEPS - STOP)
    ours, wanted = contents(programs.checkpoint(resumed)), contents(programs.checkpoint(whole))
    different = sorted(name for name in ours.keys() | wanted.keys() if ours.get(name) != wanted.get(name))
    checks.that(f"{what}: resumed bit-identical", not different and len(wanted) >= 2,
                ", ".join(different) or f"{len(wanted)} files")
    moved = contents(first)["model.safetensors"] != wanted["model.safetensors"]
    checks.that(f"{what}: the weights moved after the checkpoint", moved)
    digests = programs.result(whole)["rank_digests"]
    checks.that(f"{what}: the ranks' bits agree", len(digests) == ranks and len(set(digests)) == 1)


def kinds(checks, scratch, options):
    job = {**JOB, "model": str(deep_model(scratch)), "learning_rate": 5e-3,
           "dataset": [programs.write_rows(scratch / "rows.jsonl", token_rows(4))]}  # Two steps see all rows.
    for kind in options.kinds:
        for ranks in (1, 2) if kind in ON_TWO_RANKS else (1,):
            compare_resumed(checks, scratch, job, kind, ranks)
    if {"galore", "galore-each"} <= set(options.kinds):
        # The same steps, whether the gradients are updated all at once or one by one.
        free = {**job, "max_grad_norm": 0.0, **GALORE}
        ends = []
        for name, extra in (("together", {}), ("apart", EACH)):
            programs.train({**free, **extra}, scratch / name)
            ends.append(contents(programs.checkpoint(scratch / name)))
        checks.that("galore: tensor by tensor ends with the same bits", ends[0] == ends[1])


# -- lisa -------------------------------------------------------------------------------------------------------------

def lisa(checks, scratch, _options):
    directory = deep_model(scratch)
    job = {**JOB, **KINDS["lisa"], "model": str(directory), "save_steps": 1, "warmup_steps": 0,
           "dataset": [programs.write_rows(scratch / "rows.jsonl", token_rows())]}
    for ranks in (1, 2):
        output = scratch / f"lisa-steps-{ranks}"
        records = programs.train({**job, "workers": ranks, "per_device_train_batch_size": 2 // ranks}, output, ranks)
        before, drawn = layers_of(load_file(directory / "model.safetensors")), []
        for step in range(1, STEPS + 1):
            after = layers_of(load_file(output / f"checkpoint-{step}/model.safetensors"))
            changed = [name for name in after if any(not torch.equal(after[name][p], before[name][p]) for p in after[name])]
            still = [p for p in after[""] if torch.equal(after[""][p], before[""][p])]
            checks.that(f"lisa, {ranks} ranks: step {step} changes one layer and all that is in none",
                        len(changed) == 2 and not still, f"changed {changed}, not {still}")
            drawn.append([name for name in changed if name])
            before = after
        pairs = [drawn[i] == drawn[i + 1] for i in range(0, STEPS, 2)]
        checks.that(f"lisa, {ranks} ranks: a draw lasts for its interval", all(pairs), str(drawn))
        checks.that(f"lisa, {ranks} ranks: draws differ", len({name for names in drawn for name in names}) > 1)
        sent = 4 * sum(t.numel() for name in ("", "0") for t in before[name].values())
        checks.equal(f"lisa, {ranks} ranks: bytes all-reduced in a step", {r["all_reduced_bytes"] for r in records},
                     {sent if ranks > 1 else 0})
        (scratch / f"drawn-{ranks}.json").write_text(json.dumps(drawn))
    checks.equal("lisa: both world sizes draw the same", *[(scratch / f"drawn-{r}.json").read_text() for r in (1, 2)])


# -- start ------------------------------------------------------------------------------------------------------------

def start(checks, scratch, _options):
    directory, rows = tiny_models.make("llama-tied", scratch), token_rows()
    job = {**JOB, "model": str(directory), "dataset": [programs.write_rows(scratch / "rows.jsonl", rows)]}
    programs.train(job, scratch / "first")
    saved = programs.checkpoint(scratch / "first")
    as_model = programs.logits(saved, rows[:2], scratch / "as-model.safetensors")
    as_adapter = programs.logits(directory, rows[:2], scratch / "as-adapter.safetensors", adapter=saved)
    checks.that("a checkpoint as the model, and over its base, gives the same logits",
                all(torch.equal(a, b) for a, b in zip(as_model, as_adapter)))
    plain = {key: value for key, value in job.items() if key != "tuner_type"}
    records = programs.train({**plain, "model": str(saved), "max_steps": 2}, scratch / "second")
    checks.equal("steps of a LoRA job on it", len(records), 2)
    refused = programs.run(programs.trainer_command({**job, "resume_from_checkpoint": str(saved), "galore_rank": 4,
                                                     "use_galore": True}, scratch / "other"), timeout_s=120)
    checks.that("a checkpoint of another optimizer is refused", refused.code == 2 and "saved state" in refused.err,
                refused.err.strip().splitlines()[-1][-150:] if refused.err else "")


PARTS = {"parity": parity, "kinds": kinds, "lisa": lisa, "start": start}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    options = parser.parse_args()
    checks, scratch = programs.Checks(), programs.scratch("full")
    for name in options.only:
        PARTS[name](checks, scratch, options)
    checks.finish()


if __name__ == "__main__":
    main()
