#!/usr/bin/env python3
"""Compares DPO with PEFT and the losses written out in torch, step by step, from the same adapter on the same rows.

  dpo_parity.py [--steps 6] [--case sigmoid …]

A small random decoder. The peer's reference is its own model under disable_adapter(), its log-probabilities are taken from the
whole logits, and the answers are tokenised by the chat template of `transformers`; the formulas are those of TRL's DPOTrainer.
Losses, rewards and log-probabilities agree within 1e-5 relative in float32; a reward is a difference of two log-probabilities,
so that its rounding is theirs: it is compared relative to beta times the largest of them where that is more.
Then: two ranks train as one, a resumed run is bit-equal to one that was never stopped, and full tuning starts at log 2.
"""
import argparse
import json
import math

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

import programs
import resume_parity
import tiny_models

LIMIT = 1e-5
PAIRS, BATCH, RATE, EPSILON = 8, 2, 1e-3, 1e-6  # world_size_parity.py tells about epsilon.
FIGURES = ["rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "logps/rejected"]
# The job's keys over its defaults: every loss, and the ways to compute one.
CASES = {
    "sigmoid": {},
    "smoothed": dict(label_smoothing=0.1, beta=0.3, rpo_alpha=0.5),
    "robust": dict(loss_type="robust", label_smoothing=0.2, beta=0.03),
    "hinge": dict(loss_type="hinge", beta=0.02),
    "ipo": dict(loss_type="ipo", rpo_alpha=1.0, gradient_accumulation_steps=2, gradient_checkpointing=True),
    "nca_pair": dict(loss_type="nca_pair", use_liger_kernel=False, tuner_backend="peft"),
    "sppo_hard": dict(loss_type="sppo_hard", beta=0.02),
    "apo_zero": dict(loss_type="apo_zero"),
    "apo_down": dict(loss_type="apo_down"),
}
WORDS = "the devil defines a lover as one who waits for rain total values of happiness and misery".split()


def preferences():
    """(question, chosen, rejected) of different lengths."""
    generator = torch.Generator().manual_seed(3)

    def text(least, most):
        count = torch.randint(least, most, (), generator=generator).item()
        return " ".join(WORDS[i] for i in torch.randint(0, len(WORDS), (count,), generator=generator).tolist())

    return [(text(2, 9), text(3, 12), text(3, 12)) for _ in range(PAIRS)]


def openai_row(question, chosen, rejected):
    answers = {"preferred_output": chosen, "non_preferred_output": rejected}
    return {"input": {"messages": [{"role": "user", "content": question}]},
            **{key: [{"role": "assistant", "content": answer}] for key, answer in answers.items()}}


def ms_swift_row(question, chosen, rejected):
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": chosen}],
            "rejected_response": rejected}


def write_preferences(path, pairs):
    """Both forms in one file, by turns."""
    rows = [(openai_row, ms_swift_row)[i % 2](*pair) for i, pair in enumerate(pairs)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def tokenised(directory, pairs):
    """(prompt ids, chosen ids, rejected ids) of each pair."""
    tokenizer = AutoTokenizer.from_pretrained(directory)

    def ids(question, answer):
        prompt = tokenizer.apply_chat_template([{"role": "user", "content": question}], tokenize=False,
                                               add_generation_prompt=True)
        return tokenizer(prompt)["input_ids"], tokenizer(answer + "<|im_end|>")["input_ids"]

    return [(*ids(question, chosen), ids(question, rejected)[1]) for question, chosen, rejected in pairs]


class Peer:
    """PEFT's model and its optimizer."""

    def __init__(self, directory, adapter, settings):
        base = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
        self.model = PeftModel.from_pretrained(base, str(adapter), is_trainable=True).train()
        self.settings = {"loss_type": "sigmoid", "beta": 0.1, "label_smoothing": 0.0, "rpo_alpha": 0.0, **settings}
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.95), eps=EPSILON, weight_decay=0.0)

    def logp(self, prompt, answer):
        logits = self.model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1:-1]
        return logits.double().log_softmax(-1).gather(1, torch.tensor(answer)[:, None]).sum()

    def logps(self, pairs):
        return (torch.stack([self.logp(prompt, chosen) for prompt, chosen, _ in pairs]),
                torch.stack([self.logp(prompt, rejected) for prompt, _, rejected in pairs]))

    def pair_losses(self, c, r):
        beta, smoothing, kind = (self.settings[key] for key in ("beta", "label_smoothing", "loss_type"))
        logits = c - r
        return {
            "sigmoid": lambda: -F.logsigmoid(beta * logits) * (1 - smoothing) - F.logsigmoid(-beta * logits) * smoothing,
            "robust": lambda: (-F.logsigmoid(beta * logits) * (1 - smoothing)
                               + F.logsigmoid(-beta * logits) * smoothing) / (1 - 2 * smoothing),
            "hinge": lambda: torch.relu(1 - beta * logits),
            "ipo": lambda: (logits - 1 / (2 * beta)) ** 2,
            "nca_pair": lambda: -F.logsigmoid(beta * c) - 0.5 * F.logsigmoid(-beta * c) - 0.5 * F.logsigmoid(-beta * r),
            "sppo_hard": lambda: (c - 0.5 / beta) ** 2 + (r + 0.5 / beta) ** 2,
            "apo_zero": lambda: (1 - F.sigmoid(beta * c)) + F.sigmoid(beta * r),
            "apo_down": lambda: F.sigmoid(beta * c) + (1 - F.sigmoid(beta * logits)),
        }[kind]()

    def measure(self, pairs):
        """The differentiable loss and TRL's figures of a batch."""
        lengths = [torch.tensor([len(pair[i]) for pair in pairs]) for i in (1, 2)]
        sums = self.logps(pairs)
        with torch.no_grad(), self.model.disable_adapter():
            reference = self.logps(pairs)
        if self.settings["loss_type"] == "ipo":
            policy, reference = ([logps / length for logps, length in zip(both, lengths)] for both in (sums, reference))
        else:
            policy = sums
        ratios = [ours - theirs for ours, theirs in zip(policy, reference)]
        nll = -sums[0].sum() / lengths[0].sum()
        loss = self.pair_losses(*ratios).mean() + self.settings["rpo_alpha"] * nll
        chosen, rejected = (self.settings["beta"] * ratio.detach() for ratio in ratios)
        numbers = [chosen.mean(), rejected.mean(), (chosen > rejected).double().mean(), (chosen - rejected).mean(),
                   policy[0].mean(), policy[1].mean()]
        figures = dict(zip(FIGURES, map(torch.Tensor.item, numbers)))
        return loss, {"loss": loss.item(), **figures, **({"nll_loss": nll.item()} if self.settings["rpo_alpha"] else {})}

    @torch.no_grad()
    def evaluate(self, pairs):
        return self.measure(pairs)[1]

    def step(self, pairs):
        loss, figures = self.measure(pairs)
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return figures


def largest_difference(ours, theirs, beta):
    """Of all figures of all records, relative."""
    scale = beta * max(abs(record[name]) for record in theirs for name in ("logps/chosen", "logps/rejected"))
    worst = 0.0
    for mine, wanted in zip(ours, theirs):
        for name, value in wanted.items():
            size = max(abs(value), scale) if name.startswith("rewards/") else abs(value)
            worst = max(worst, abs(mine[name] - value) / max(size, 1e-12))
    return worst


def compare(checks, name, base, scratch, directory, pairs, steps):
    settings = CASES[name]
    batch = BATCH * settings.get("gradient_accumulation_steps", 1)
    output = scratch / name
    ours = programs.train({**base, **settings, "max_steps": steps}, output)
    peer = Peer(directory, scratch / "start", {key: value for key, value in settings.items() if "_steps" not in key})
    picked = [[pairs[(step * batch + i) % PAIRS] for i in range(batch)] for step in range(steps)]
    before = peer.evaluate(pairs)
    theirs = [peer.step(rows) for rows in picked]
    after = peer.evaluate(pairs)
    checks.equal(f"{name}: steps", len(ours), steps)
    beta = peer.settings["beta"]
    checks.at_most(f"{name}: loss and figures of {steps} steps", largest_difference(ours, theirs, beta), LIMIT)
    evaluations = [record for record in programs.records(output) if "eval_loss" in record]
    evaluated = [{key[5:]: value for key, value in record.items() if key.startswith("eval_")} for record in evaluations]
    checks.at_most(f"{name}: evaluation before and after", largest_difference(evaluated, [before, after], beta), LIMIT)
    checks.that(f"{name}: it learns", theirs[0] != theirs[-1] and after["loss"] < before["loss"],
                f"{before['loss']:.5f} -> {after['loss']:.5f}")


def compare_ranks_and_resume(checks, base, scratch):
    """With dropout and an adapter that starts as the identity."""
    job = {**base, "lora_dropout": 0.1, "adapters": [], "max_steps": 6, "save_strategy": "steps", "save_steps": 3,
           "per_device_train_batch_size": 1, "dataset_shuffle": True, "rpo_alpha": 0.5}
    two = programs.train(job | {"workers": 2}, scratch / "two", ranks=2)
    one = programs.train(job | {"per_device_train_batch_size": 2}, scratch / "one")
    # At the reference no answer is better than the other but for rounding.
    compared = ["loss", *(name for name in FIGURES if name != "rewards/accuracies")]
    wanted = [{name: record[name] for name in compared} for record in one]
    checks.at_most("two ranks train as one", largest_difference(two, wanted, 0.1), LIMIT)
    digests = programs.result(scratch / "two")["rank_digests"]
    checks.that("both ranks end with the same bits", len(digests) == 2 and len(set(digests)) == 1)
    first = programs.records(scratch / "one")[0]
    at_reference = math.log(2) + 0.5 * first["eval_nll_loss"]
    checks.at_most("the run starts at the reference", abs(first["eval_loss"] - at_reference), LIMIT)
    resumed = job | {"workers": 2, "resume_from_checkpoint": str(scratch / "two/checkpoint-3")}
    del resumed["adapters"]
    programs.train(resumed, scratch / "resumed", ranks=2)
    resume_parity.compare(checks, "resumed at step 3", programs.checkpoint(scratch / "resumed"),
                          programs.checkpoint(scratch / "two"))


def train_whole_model(checks, base, scratch):
    """The reference is the model that was loaded, of which full tuning trains a copy."""
    job = {**base, "tuner_type": "full", "learning_rate": 1e-3, "max_steps": 6}
    for key in ("adapters", "lora_rank", "lora_alpha", "lora_dropout"):
        del job[key]
    records = programs.train(job, scratch / "full")
    checks.at_most("full tuning starts at log 2", abs(records[0]["loss"] - math.log(2)), LIMIT)
    checks.that("and leaves the reference behind", programs.result(scratch / "full")["eval_loss"] < 0.6,
                f"{programs.result(scratch / 'full')['eval_loss']:.4f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--case", nargs="+", default=list(CASES), choices=CASES)
    options = parser.parse_args()
    checks, scratch = programs.Checks(), programs.scratch("dpo")
    directory = tiny_models.make("qwen2", scratch)
    torch.manual_seed(1)
    start = get_peft_model(AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32),
                           LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", init_lora_weights=False,
                                      task_type="CAUSAL_LM"))
    with torch.no_grad():
        for name, parameter in start.named_parameters():
            if "lora_B" in name:
                parameter.mul_(0.1)  # Near the reference, as a run is.
    start.save_pretrained(str(scratch / "start"))
    texts = preferences()
    data = write_preferences(scratch / "preferences.jsonl", texts)
    base = {**programs.PLAIN_STEP, "model": str(directory), "torch_dtype": "float32", "rlhf_type": "dpo", "dataset": [data],
            "val_dataset": [data], "eval_strategy": "no", "adapters": [str(scratch / "start")], "learning_rate": RATE,
            "adam_epsilon": EPSILON, "per_device_train_batch_size": BATCH, "per_device_eval_batch_size": 3}
    pairs = tokenised(directory, texts)
    for name in options.case:
        compare(checks, name, base, scratch, directory, pairs, options.steps)
    compare_ranks_and_resume(checks, base, scratch)
    train_whole_model(checks, base, scratch)
    checks.finish()


if __name__ == "__main__":
    main()
