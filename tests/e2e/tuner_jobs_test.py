#!/usr/bin/env python3
"""Trains every tuner there is as a real job, and checks what comes of it.

  tuner_jobs_test.py [--model DIR] [--service] [--only NAME …] [--steps N] [--length TOKENS] [--rows N] [--json FILE]

Without --model the jobs run on a small random model, in seconds each; with one (SmolLM2) the table is the real one. With
--service a running `tunefleet up` gets them through its API, one at a time; without, the trainer alone runs them. The tuners are those of `tunefleet tuners --json`, so that a new one is covered; CASES adds what a tuner needs and variants.
Of each job: the loss falls; a run resumed from its middle ends with the same bits (small model); the checkpoint loads back
and gives the loss the run ended with; the base is as it was; what can merge merges to the same logits, and what cannot is
refused by its name. Then what tuners must refuse: bad options, files of other shapes or bases, taken names.
"""
import argparse
import atexit
import hashlib
import json
import math
import shutil
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "oracle"))
import programs
import service
import tiny_models

USER = 2
TIME_LIMIT_S = 600
LAYERS = r"model\.layers\.\d+"

# The job of a tuner where `tuner_type: NAME` alone is not one, or learns too slowly at the common learning rate.
CASES = {
    "adapter": {"learning_rate": 1e-3},
    "c3a": {"tuners": {"default": {"type": "c3a", "block_size": 64}}},
    "ia3": {"learning_rate": 2e-2},
    "llamapro": {"llamapro_num_new_blocks": 2, "learning_rate": 1e-3},
    "part": {"target_regex": LAYERS + r"\.mlp\.down_proj", "learning_rate": 1e-3},
    "prefix_tuning": {"tuners": {"default": {"type": "prefix_tuning", "num_virtual_tokens": 8}}, "learning_rate": 2e-2},
    "prompt_tuning": {"tuners": {"default": {"type": "prompt_tuning", "num_virtual_tokens": 8}}, "learning_rate": 2e-2},
    "p_tuning": {"tuners": {"default": {"type": "p_tuning", "num_virtual_tokens": 8}}, "learning_rate": 1e-3},
    "restuning": {"tuners": {"default": {"type": "restuning", "stem_modules": [r"model.layers.0"],
                                         "target_modules": r"model\.layers\.1", "tuner_cfg": "res_adapter"}}},
    "scetuning": {"tuners": {"default": {"type": "scetuning", "target_modules": LAYERS + r"\.mlp", "tuner_mode": "encoder"}}},
    "side": {"tuners": {"default": {"type": "side", "target_modules": LAYERS + r"\.mlp", "side_module_name": "mlp"}}},
    "trainable_tokens": {"tuners": {"default": {"type": "trainable_tokens", "token_indices": list(range(60))}},
                         "learning_rate": 2e-2},
    "vblora": {"tuners": {"default": {"type": "vblora", "vector_length": 64}}, "learning_rate": 2e-2},
}
# What the small model needs beside: defaults are made for larger layers.
SMALL_CASES = {
    "bone": {"lora_rank": 16},
    "c3a": {"tuners": {"default": {"type": "c3a", "block_size": 16}}},
    # At the usual 150 its random start makes a model whose logits float32 itself gives to 3e-3 only (transformers' too).
    "fourierft": {"fourier_n_frequency": 200, "fourier_scaling": 20.0},
    "hira": {"lora_rank": 8},
    "miss": {"lora_rank": 16},
    "road": {"tuners": {"default": {"type": "road", "group_size": 16}}},
    "shira": {"lora_rank": 4},
    "vblora": {"tuners": {"default": {"type": "vblora", "vector_length": 16, "num_vectors": 32}}, "learning_rate": 2e-2},
    "waveft": {"tuners": {"default": {"type": "waveft", "n_frequency": 200}}},
}
# And what a real one does: at the common learning rate these go too far in a few steps.
LARGE_CASES = {
    "bone": {"lora_rank": 16, "learning_rate": 1e-3},
    "miss": {"lora_rank": 16, "learning_rate": 1e-3},
    "oft": {"learning_rate": 1e-3},
    "randlora": {"learning_rate": 1e-3},
    "scetuning": {"learning_rate": 1e-3},
}
# Tuners that a job on a language model refuses, and what it says.
REFUSED = {
    "neftune": ({}, ["nothing would train", "neftune_noise_alpha"]),
    "prompt": ({"tuners": {"default": {"type": "prompt", "target_modules": LAYERS}}}, ["prompt_tuning"]),
}
VARIANTS = {
    "lora+dora": {"use_dora": True},
    "lora+rslora": {"use_rslora": True},
    "lora+pissa": {"init_weights": "pissa"},
    "lora+olora": {"init_weights": "olora"},
    "lora+": {"lorap_lr_ratio": 4.0},
    "lora, norms and embeddings": {"modules_to_save": ["all-norm", "all-embedding"]},
    "lora+neftune": {"neftune_noise_alpha": 5.0},
    "lora beside ia3": {"tuners": {"facts": {"type": "ia3"}, "style": {"type": "lora", "lora_alpha": 32}}},
    "full": {"tuner_type": "full", "learning_rate": 1e-3},
    "full+lisa": {"tuner_type": "full", "lisa_activated_layers": 1, "lisa_step_interval": 2, "learning_rate": 1e-3},
    "full+galore": {"tuner_type": "full", "use_galore": True, "galore_rank": 8, "learning_rate": 1e-3},
    "full+q-galore": {"tuner_type": "full", "use_galore": True, "galore_quantization": True, "galore_rank": 8,
                      "learning_rate": 1e-3},
    "lora by plain operations": {"tuner_backend": "peft"},
    "lora by hand": {"tuner_backend": "unsloth"},
    "plain kernels": {"use_liger_kernel": False},
    "plain kernels and plain lora": {"use_liger_kernel": False, "tuner_backend": "peft"},
}
# Variants that compute what the case "lora" does; whether in the same way, to the same bits.
WAYS = {"lora by hand": True, "lora by plain operations": False, "plain kernels": False, "plain kernels and plain lora": False}


class Bench:
    """The model, the data and the job that all cases share."""

    def __init__(self, checks, options):
        self.checks, self.options = checks, options
        self.scratch = programs.scratch("tuner-jobs")
        self.model = Path(options.model) if options.model else tiny_models.make("llama", self.scratch)
        self.vocabulary = json.loads((self.model / "config.json").read_text())["vocab_size"]
        self.rows = self.token_rows()
        data = programs.write_rows(self.scratch / "rows.jsonl", self.rows)
        # Every step sees the same rows: the loss has to fall at once.
        self.job = dict(programs.PLAIN_STEP, model=str(self.model), dataset=[data], val_dataset=[data],
                        eval_strategy="no", torch_dtype="float32", max_steps=options.steps, learning_rate=5e-3,
                        per_device_train_batch_size=len(self.rows), gradient_accumulation_steps=1)
        if not options.model:
            self.job.update(save_strategy="steps", save_steps=options.steps // 2)
        del self.job["lora_alpha"], self.job["lora_rank"]
        self.base_digest = self.digest()
        self.base_logits = self.logits("base")
        self.runner = ThroughService(self) if options.service else Alone(self)

    def token_rows(self):
        """Rows in which some tokens repeat: something to learn, and the same in every run."""
        import random
        draw = random.Random(7)
        return [[draw.randrange(3, min(self.vocabulary, 60)) for _ in range(self.options.length)]
                for _ in range(self.options.rows)]

    def digest(self):
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in self.model.glob("*.safetensors")}

    def logits(self, name, adapter=None, model=None):
        return programs.logits(model or self.model, self.rows, self.scratch / f"{name}.logits.safetensors", adapter)

    def loss(self, logits):
        """Mean cross-entropy of the next token over all rows."""
        import torch
        total = sum(torch.nn.functional.cross_entropy(row[:-1], torch.tensor(ids[1:]), reduction="sum").item()
                    for row, ids in zip(logits, self.rows))
        return total / sum(len(ids) - 1 for ids in self.rows)


class Alone:
    """Runs a job with the trainer and nothing else."""

    def __init__(self, bench):
        self.bench = bench

    def run(self, name, job):
        """The run's directory; and what went wrong, or nothing."""
        output = self.bench.scratch / name.replace(" ", "_").replace(",", "")
        finished = programs.run(programs.trainer_command(job, output), TIME_LIMIT_S)
        return output, None if finished.code == 0 else str(finished)[-1500:]


class ThroughService:
    """Submits a job with the openai client, and waits for its end."""

    def __init__(self, bench):
        self.service = service.Service(bench.scratch / "service", bench.model.resolve().parent, slots=1)
        atexit.register(self.service.stop)
        self.client = self.service.start().client()
        with open(bench.job["dataset"][0], "rb") as rows:
            self.file = self.client.files.create(file=rows, purpose="fine-tune").id

    def run(self, name, job):
        settings = {key: value for key, value in job.items() if key not in ("model", "dataset", "val_dataset")}
        jobs = self.client.fine_tuning.jobs
        made = jobs.create(model=Path(job["model"]).name, training_file=self.file, validation_file=self.file,
                           metadata={"case": name}, extra_body=settings)
        ended = service.wait_until(f"{name} ends", lambda: (now := jobs.retrieve(made.id)).finished_at and now, TIME_LIMIT_S)
        return self.service.data / "jobs" / made.id, None if ended.status == "succeeded" else str(ended.error)


def job_of(bench, settings):
    """The common job with a case's settings over it; what a tuner has no use for stays out."""
    job = {**bench.job, **settings}
    lora = not ("tuners" in settings or settings.get("tuner_type", "lora") not in ("lora", "longlora", "adalora"))
    if not lora:
        job.pop("lora_dropout", None)
    return job


def row_of(name, records, result):
    """A line of the table, and what equal_ways compares."""
    times = [record["train_speed(s/it)"] for record in records]
    return {"case": name, "trainable": result["trainable_parameters"], "first_loss": records[0]["loss"],
            "last_loss": result["eval_loss"], "losses": [record["loss"] for record in records],
            "digests": result["rank_digests"], "step_s": statistics.median(times[1:] or times),
            "memory_gib": records[-1]["memory(GiB)"]}


def largest_difference(a, b):
    return max((x - y).abs().max().item() for x, y in zip(a, b))


def trains(bench, name, settings):
    """Runs one job; returns its line of the table and its checkpoint, or nothing when it failed."""
    output, wrong = bench.runner.run(name, job_of(bench, settings))
    if wrong:
        bench.checks.that(f"{name} trains", False, wrong)
        return None, None
    row = row_of(name, programs.step_records(output), programs.result(output))
    fell = math.isfinite(row["last_loss"]) and row["last_loss"] < row["first_loss"]
    bench.checks.that(f"{name} trains", fell, f"loss {row['first_loss']:.4f} -> {row['last_loss']:.4f}, "
                      f"{row['trainable']:,} trainable")
    return row, programs.checkpoint(output)


def loads_back(bench, name, row, checkpoint):
    logits = bench.logits("tuned", checkpoint)
    bench.checks.that(f"{name}: the checkpoint changes the output", largest_difference(logits, bench.base_logits) > 1e-4)
    bench.checks.at_most(f"{name}: the checkpoint gives the loss the run ended with",
                         abs(bench.loss(logits) - row["last_loss"]), 2e-4 * max(1.0, row["last_loss"]))
    return logits


def merges(bench, name, schema, checkpoint, tuned):
    """`tunefleet merge` gives a model of the same logits, or refuses the adapter by its name."""
    output = bench.scratch / "merged"
    finished = programs.run([programs.program("tunefleet"), "merge", "--model", bench.model, "--adapter", checkpoint,
                             "-o", output], TIME_LIMIT_S)
    if schema and not schema["can_merge"]:
        named = finished.code == USER and f"({schema['name']})" in finished.err
        bench.checks.that(f"{name}: merging is refused by name", named and not output.exists(), finished.err.strip()[-300:])
        return
    if finished.code != 0:
        bench.checks.that(f"{name}: merges", False, str(finished)[-1500:])
        return
    difference = largest_difference(bench.logits("merged", model=output), tuned)
    bench.checks.at_most(f"{name}: the merged model's logits are the adapter's", difference, 2e-3)
    shutil.rmtree(output)


def resumes(bench, name, settings, checkpoint):
    """From the checkpoint in the middle of the run, to the same bits at its end."""
    middle = checkpoint.parent / f"checkpoint-{bench.options.steps // 2}"
    output = bench.scratch / "resumed"
    job = dict(job_of(bench, settings), resume_from_checkpoint=str(middle))
    finished = programs.run(programs.trainer_command(job, output), TIME_LIMIT_S)
    if finished.code != 0:
        bench.checks.that(f"{name}: resumes", False, str(finished)[-1500:])
        return
    ends = [programs.result(directory)["rank_digests"] for directory in (output, checkpoint.parent)]
    bench.checks.equal(f"{name}: a resumed run ends with the same bits", *ends)
    shutil.rmtree(output)


def run_case(bench, name, schema, settings):
    row, checkpoint = trains(bench, name, settings)
    if row is None:
        return None
    if not bench.options.model:
        resumes(bench, name, settings, checkpoint)
    tuned = loads_back(bench, name, row, checkpoint)
    if not name.startswith("full"):
        merges(bench, name, schema, checkpoint, tuned)
    return row


def tuner_cases(bench):
    """(name, schema, settings) of every tuner, then of the variants."""
    listed = programs.must_run([programs.program("tunefleet"), "tuners", "--json"], 60)
    for schema in (each for each in json.loads(listed.out) if each["adapter"]):
        name = schema["name"]
        sized = LARGE_CASES if bench.options.model else SMALL_CASES
        settings = {**CASES.get(name, {}), **sized.get(name, {})}
        if name not in REFUSED:
            yield name, schema, settings if "tuners" in settings else {"tuner_type": name, **settings}
    for name, settings in VARIANTS.items():
        yield name, None, settings


def equal_ways(bench, rows):
    """What is computed in another way takes LoRA's steps and ends where LoRA does, up to rounding."""
    seen = {row["case"]: row for row in rows}
    lora = seen.get("lora")
    for name in [name for name in WAYS if lora and name in seen]:
        way = seen[name]
        bench.checks.equal(f"{name}: ends with the bits of lora", way["digests"] == lora["digests"], WAYS[name])
        pairs = zip([*way["losses"], way["last_loss"]], [*lora["losses"], lora["last_loss"]], strict=True)
        bench.checks.at_most(f"{name}: the losses of all steps are those of lora, relative",
                             max(abs(a - b) / b for a, b in pairs), 1e-4)


def print_table(rows):
    """Every case beside plain LoRA, which stands in the list of tuners."""
    lora = next((row for row in rows if row["case"] == "lora"), None)
    print(f"\n{'case':28} {'trainable':>12} {'first loss':>10} {'last':>8} {'s/step':>8} {'of LoRA':>8} {'GiB':>6} {'of LoRA':>8}")
    for row in rows:
        part = [f"{row[key] / lora[key]:8.2f}" if lora else " " * 8 for key in ("step_s", "memory_gib")]
        print(f"{row['case']:28} {row['trainable']:12,} {row['first_loss']:10.4f} {row['last_loss']:8.4f} "
              f"{row['step_s']:8.4f} {part[0]} {row['memory_gib']:6.2f} {part[1]}")


def expect(bench, what, finished, named, code=USER):
    said = finished.out + finished.err
    missing = [word for word in named if word not in said]
    last = (said.strip().splitlines() or ["(said nothing)"])[-1]
    good = finished.code == code and not missing and not finished.timed_out and "terminate called" not in said
    bench.checks.that(what, good, last if good else f"wanted exit code {code} and {named}, got: {finished}")


class Refusals:
    """Jobs and commands that must fail, with what their message names."""

    def __init__(self, bench):
        self.bench, self.count = bench, 0
        self.small = tiny_models.make("llama", bench.scratch / "small") if bench.options.model else bench.model
        self.settings = dict(tuner_type="lora", max_steps=1, model=str(self.small))
        self.lora = self.checkpoint({})

    def output(self):
        self.count += 1
        return self.bench.scratch / f"refused-{self.count}"

    def checkpoint(self, settings):
        output = self.output()
        job = job_of(self.bench, {**self.settings, **settings})
        programs.train(job, output)
        return programs.checkpoint(output)

    def job(self, what, settings, named):
        command = programs.trainer_command(job_of(self.bench, {**self.settings, **settings}), self.output())
        expect(self.bench, what, programs.run(command, TIME_LIMIT_S), named)

    def command(self, what, words, named):
        expect(self.bench, what, programs.run([programs.program("tunefleet"), *words], TIME_LIMIT_S), named)

    def damaged(self, change):
        """A copy of the LoRA checkpoint's PEFT folder with other tensors."""
        from safetensors.torch import load_file, save_file
        folder = self.output()
        shutil.copytree(self.lora / "peft", folder)
        tensors = load_file(folder / "adapter_model.safetensors")
        save_file(change(tensors), folder / "adapter_model.safetensors", metadata={"format": "pt"})
        return folder

    def of_another_base(self):
        """A LoRA adapter trained on a model of another width."""
        sizes, other = tiny_models.SIZES, self.bench.scratch / "other"
        before = dict(sizes)
        try:
            sizes.update(hidden_size=72)
            model = tiny_models.make("llama", other)
        finally:
            sizes.update(before)
        return self.checkpoint({"model": str(model)})


def refuses(bench):
    cases = Refusals(bench)
    cases.job("target_modules that match nothing", dict(target_modules=["q_prj"]), ["q_prj", "q_proj"])
    cases.job("a rank larger than the layer", dict(lora_rank=100000), ["100000", "48"])
    for tuner, (settings, named) in REFUSED.items():
        cases.job(f"a job of {tuner}", settings or {"tuner_type": tuner}, named)
    cases.job("an unknown tuner", dict(tuner_type="lroa"), ["tuner_type", "did you mean lora"])
    cases.job("an option the tuner has not", dict(tuners={"a": {"type": "lora", "rnk": 4}}), ["tuners.a.rnk", "r"])
    cases.job("two adapters of one name", dict(adapters=[str(cases.lora), str(cases.lora)]), ["default"])
    cut = cases.damaged(lambda tensors: {key: value[..., :-1].contiguous() for key, value in tensors.items()})
    cases.job("tensors of the wrong shape", dict(adapters=[str(cut)]), ["lora_", "[8, 47]", "[8, 48]"])
    few = cases.damaged(lambda tensors: dict(list(tensors.items())[1:]))
    cases.job("a tensor is missing", dict(adapters=[str(few)]), ["missing", "lora_"])
    other = cases.of_another_base()
    cases.job("an adapter of another base", dict(adapters=[str(other)]), ["[8, 72]", "[8, 48]"])
    cases.command("merging an adapter of another base", ["merge", "--model", cases.small, "--adapter", other, "-o",
                                                         cases.output()], ["[8, 72]", "[8, 48]"])
    ia3 = cases.checkpoint(dict(tuner_type="ia3"))
    cases.command("converting a tuner other than LoRA", ["export", "--to-peft", ia3, "-o", cases.output()],
                  ["only LoRA can be converted", "IA3"])
    cases.command("combining what is not LoRA", ["adapters", "combine", ia3, cases.lora, "-o", cases.output()], ["LoRA"])
    cases.command("merging into a directory that is in use", ["merge", "--model", cases.small, "--adapter", cases.lora,
                                                              "-o", cases.lora], ["not empty"])


def converts_and_combines(bench):
    """`export --to-peft` and `adapters combine` change no logits that they should not change."""
    if bench.options.model:
        return
    checkpoint = trains(bench, "lora to convert", {"tuner_type": "lora"})[1]
    tuned = bench.logits("tuned", checkpoint)
    folder = bench.scratch / "exported"
    programs.must_run([programs.program("tunefleet"), "export", "--to-peft", checkpoint, "-o", folder], TIME_LIMIT_S)
    bench.checks.that("export writes PEFT's layout", (folder / "adapter_config.json").exists())
    bench.checks.equal("the exported adapter gives the same logits", largest_difference(bench.logits("exported", folder), tuned), 0.0)
    for kind, weights in (("cat", ["0.5", "0.5"]), ("svd", ["0.25", "0.75"])):
        folder = bench.scratch / f"combined-{kind}"
        programs.must_run([programs.program("tunefleet"), "adapters", "combine", checkpoint, checkpoint / "peft", "--type",
                           kind, "--weights", *weights, "-o", folder], TIME_LIMIT_S)
        bench.checks.at_most(f"an adapter combined with itself by {kind} is itself",
                             largest_difference(bench.logits("combined", folder), tuned), 2e-3)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="a Hugging Face directory instead of the small model")
    parser.add_argument("--service", action="store_true", help="as jobs of a running service")
    parser.add_argument("--only", nargs="+", help="these cases alone")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--length", type=int, default=48)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--json", type=Path, help="write the table's rows there")
    options = parser.parse_args()
    checks = programs.Checks()
    bench = Bench(checks, options)
    rows = []
    for name, schema, settings in tuner_cases(bench):
        if options.only is None or name in options.only:
            row = run_case(bench, name, schema, settings)
            rows += [row] if row else []
    equal_ways(bench, rows)
    if options.only is None:
        converts_and_combines(bench)
        refuses(bench)
    checks.equal("the base model's files are as they were", bench.digest(), bench.base_digest)
    checks.equal("and so are its logits", largest_difference(bench.logits("again"), bench.base_logits), 0.0)
    print_table(rows)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))
    checks.finish()


if __name__ == "__main__":
    main()
