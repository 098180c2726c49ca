#!/usr/bin/env python3
"""Gives the trainer and the importer what they must refuse, and checks how: the exit code, the thing named, no hang.

The trainer exits with 2 for the user's input and 3 for the machine's failures, the importer with 1 for a file it cannot use.
Each case names what its message holds.
"""
import json
import os
import resource
import shutil
import signal
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "oracle"))
import programs
import tiny_models

USER, MACHINE, IMPORT_FAILED = 2, 3, 1
TIME_LIMIT_S = 60
GOOD_LINE = '{"messages": [{"role": "user", "content": "Define x."}, {"role": "assistant", "content": "A letter."}]}\n'


class Cases:
    """A good job on a small model, from which every case departs in one thing."""

    def __init__(self, checks, scratch):
        self.checks, self.scratch, self.count = checks, scratch, 0
        self.model = tiny_models.make("llama-tied", scratch)
        self.data = self.file("good.jsonl", GOOD_LINE * 8)
        self.job = dict(model=str(self.model), dataset=[self.data], max_steps=2, per_device_train_batch_size=1,
                        gradient_accumulation_steps=1, logging_steps=1, device="cpu", torch_dtype="float32")

    def file(self, name, text):
        path = self.scratch / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return str(path)

    def output(self):
        self.count += 1
        return self.scratch / f"run-{self.count}"

    def expect(self, what, finished, code, named):
        said = finished.out + finished.err
        missing = [word for word in named if word not in said]
        last = (said.strip().splitlines() or ["(said nothing)"])[-1]
        good = finished.code == code and not missing and not finished.timed_out and "terminate called" not in said
        self.checks.that(what, good, last if good else f"wanted exit code {code} and {named}, got: {finished}")

    def refused(self, what, change, named, code=USER, **options):
        """Runs the good job with `change` over it and expects a refusal whose message holds every string in `named`."""
        command = programs.trainer_command({**self.job, **change}, self.output())
        self.expect(what, programs.run(command, TIME_LIMIT_S, **options), code, named)

    def warned(self, what, change, named):
        """Runs the good job with `change` over it and expects it to go through, saying every string in `named`."""
        command = programs.trainer_command({**self.job, **change}, self.output())
        self.expect(what, programs.run(command, TIME_LIMIT_S), 0, named)

    def silent(self, what, change, unsaid):
        finished = programs.run(programs.trainer_command({**self.job, **change}, self.output()), TIME_LIMIT_S)
        said = [word for word in unsaid if word in finished.out + finished.err]
        self.checks.that(what, finished.code == 0 and not said, "" if finished.code == 0 and not said else str(finished))

    def other_model(self):
        """A model of the same sizes with other weights."""
        return self.broken_model("other", lambda data: data[:-4] + bytes(4))

    def copy_of_model(self):
        return self.broken_model("copy", lambda data: data)

    def broken_model(self, name, damage):
        """A copy of the model whose weights file went through `damage(bytes)`."""
        directory = self.scratch / name
        if directory.exists():
            return str(directory)
        shutil.copytree(self.model, directory)
        weights = directory / "model.safetensors"
        weights.write_bytes(damage(bytearray(weights.read_bytes())))
        return str(directory)


def data_cases(cases):
    bad = cases.file("bad.jsonl", GOOD_LINE * 2 + '{"messages": [}\n' + GOOD_LINE)
    cases.refused("malformed JSON", dict(dataset=[bad]), ["bad.jsonl", "3"])
    cases.refused("a row without an answer", dict(dataset=[cases.file(
        "no-answer.jsonl", GOOD_LINE + '{"messages": [{"role": "user", "content": "x"}]}\n')]), ["no-answer.jsonl", "2"])
    cases.refused("a row of no known form", dict(dataset=[cases.file(
        "form.jsonl", GOOD_LINE + '{"colour": "red"}\n')]), ["form.jsonl", "2"])
    cases.refused("broken UTF-8", dict(dataset=[cases.file(
        "utf8.jsonl", GOOD_LINE.encode() + b'{"query": "\xff\xfe", "response": "y"}\n')]), ["utf8.jsonl", "2"])
    cases.refused("an empty data set", dict(dataset=[cases.file("empty.jsonl", "")]), ["empty.jsonl"])
    cases.refused("a data set that is not there", dict(dataset=[str(cases.scratch / "nowhere.jsonl")]), ["nowhere.jsonl"])
    cases.refused("a token id past the vocabulary", dict(dataset=[cases.file(
        "ids.jsonl", '{"input_ids": [5, 6, 7]}\n{"input_ids": [5, 999999, 7]}\n')]), ["999999"])


def job_cases(cases):
    cases.refused("an unknown model", dict(model="NoSuchModel-7B"), ["NoSuchModel-7B"])
    cases.refused("a misspelt key", dict(lora_rnak=8), ["lora_rnak", "lora_rank"])
    cases.refused("an unknown key", dict(zzzzzz=1), ["zzzzzz"])
    cases.refused("a value of the wrong type", dict(learning_rate="fast"), ["learning_rate"])
    cases.refused("a value out of range", dict(lora_rank=0), ["lora_rank"])
    cases.refused("two mistakes are both named", dict(lora_rnak=8, per_device_train_batch_size=-1),
                  ["lora_rnak", "per_device_train_batch_size"])
    cases.refused("target modules that match nothing", dict(target_modules=["no_such_proj"]), ["no_such_proj"])
    cases.refused("an adapter that is not there", dict(adapters=[str(cases.scratch / "no-adapter")]), ["no-adapter"])
    broken = cases.file("broken.yaml", "model: [unclosed\n")
    finished = programs.run([programs.program("tunefleet-trainer"), "run", broken, "--output-dir", cases.output()], TIME_LIMIT_S)
    cases.expect("a job file that is not YAML", finished, USER, ["broken.yaml"])


def weight_cases(cases):
    def flip(data, at):
        data[at] ^= 0x80
        return data

    cases.refused("truncated safetensors", dict(model=cases.broken_model("truncated", lambda d: d[:-1000])),
                  ["model.safetensors"])
    cases.refused("safetensors cut in the header", dict(model=cases.broken_model("cut", lambda d: d[:100])),
                  ["model.safetensors"])
    cases.refused("a flipped bit in the safetensors header", dict(model=cases.broken_model("flipped", lambda d: flip(d, 9))),
                  ["model.safetensors"])
    cases.refused("a header size of 2^60", dict(
        model=cases.broken_model("huge", lambda d: struct.pack("<Q", 1 << 60) + d[8:])), ["model.safetensors"])
    cases.refused("a model without weights", dict(model=cases.broken_model("empty", lambda d: b"")), ["model.safetensors"])


def gguf_cases(cases):
    """Damages the quickstart's GGUF file, when it is here; the import refuses and leaves no model behind."""
    whole = next((programs.ROOT / ".data").glob("*.gguf"), None)
    if whole is None:
        sys.exit("the GGUF file is missing; run deploy/prepare-model")
    data = whole.read_bytes()
    damages = {"truncated": data[:len(data) // 2], "cut-header": data[:5000], "magic": b"GGUX" + data[4:],
               "tensor-count": data[:8] + struct.pack("<Q", 1 << 62) + data[16:], "empty": b""}
    for name, damaged in damages.items():
        file = cases.file(f"{name}.gguf", damaged)
        finished = programs.run([programs.program("tunefleet"), "models", "import", file, "--models",
                                 cases.scratch / "imported", "--name", name], TIME_LIMIT_S)
        cases.expect(f"GGUF: {name}", finished, IMPORT_FAILED, [f"{name}.gguf"])
        cases.checks.that(f"GGUF: {name}: nothing is left", not (cases.scratch / "imported" / name).exists())
        Path(file).unlink()


def checkpoint_cases(cases):
    output = cases.output()
    programs.train({**cases.job, "max_steps": 4, "save_steps": 2}, output)
    first = output / "checkpoint-2"
    resumed = dict(resume_from_checkpoint=str(first), max_steps=4)
    cases.refused("resuming on another base", dict(resumed, model=cases.other_model()), ["another base", cases.other_model()])
    cases.refused("resuming as another tuner", dict(resumed, tuner_type="ia3"), ["resume_from_checkpoint", "(ia3)", "(lora)"])
    cases.refused("resuming with one tuner more", dict(resumed, tuners={"facts": {"type": "lora"}}), ["facts", "default (lora)"])
    cases.refused("starting from another kind of tuner", dict(adapters=[str(first)], tuner_type="ia3"), ["adapters", "(ia3)"])
    cases.refused("a new tuner of a given adapter's name", dict(adapters=[str(first)], tuners={"default": {"type": "ia3"}}),
                  ["adapters has this name", "default"])
    cases.warned("resuming with another rank", dict(resumed, lora_rank=4), ["r is 8 there and 4 in the job"])
    cases.warned("starting with another alpha", dict(adapters=[str(first)], lora_alpha=4), ["lora_alpha is 32 there and 4"])
    kept = cases.output()
    named = dict(modules_to_save=["all-norm"], save_steps=1)
    programs.train({**cases.job, **named}, kept)
    cases.silent("resuming what the run itself filled in", dict(named, resume_from_checkpoint=str(kept / "checkpoint-1")),
                 ["there and"])
    cases.silent("resuming the same job from a copy of its model", dict(resumed, model=cases.copy_of_model()), ["there and"])
    weights = first / "peft/adapter_model.safetensors"
    whole = bytearray(weights.read_bytes())
    whole[-5] ^= 1
    weights.write_bytes(whole)
    cases.refused("resuming from a checkpoint with a flipped bit", dict(resume_from_checkpoint=str(first), max_steps=4),
                  ["adapter_model.safetensors"])
    cases.refused("resuming from nothing", dict(resume_from_checkpoint=str(cases.scratch / "no-checkpoint")), ["no-checkpoint"])


def full_disk_case(cases):
    """A file-size limit stands for the full disk (the same failing write): what is committed stays whole."""
    def limited():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (64 << 10, 64 << 10))

    job = {**cases.job, "max_steps": 4, "save_steps": 2, "lora_rank": 16}
    output = cases.output()
    finished = programs.run(programs.trainer_command(job, output), TIME_LIMIT_S, preexec_fn=limited)
    cases.expect("the disk is full at a checkpoint", finished, MACHINE, ["checkpoint-2"])
    left = [path.name for path in output.glob("checkpoint-*")]
    cases.checks.that("a checkpoint that could not be written is not left behind",
                      not left and not (output / "latest").exists(), str(left))


def killed_rank_case(cases):
    """SIGKILL for one of two ranks: the launcher ends non-zero within its limit and the other rank is gone."""
    import subprocess

    output = cases.output()
    job = {**cases.job, "max_steps": 100000, "workers": 2, "logging_steps": 10}
    process = subprocess.Popen(list(map(str, programs.trainer_command(job, output, ranks=2))), start_new_session=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    deadline = time.monotonic() + TIME_LIMIT_S
    while not (output / "logging.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    ranks = trainers_of(output)
    os.kill(ranks[-1], signal.SIGKILL)
    try:
        process.communicate(timeout=TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    cases.checks.that("a rank killed with SIGKILL ends the run", len(ranks) == 2 and process.returncode not in (0, -9),
                      f"exit code {process.returncode}")
    cases.checks.equal("no rank is left running", trainers_of(output), [])


def trainers_of(output):
    """Process ids of the trainers that write to `output`."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else []
        except OSError:
            continue
        if words and words[0].endswith(b"tunefleet-trainer") and str(output).encode() in words:
            found.append(int(entry.name))
    return sorted(found)


def main():
    checks = programs.Checks()
    cases = Cases(checks, programs.scratch("bad-input"))
    programs.train(cases.job, cases.output())
    for group in (data_cases, job_cases, weight_cases, gguf_cases, checkpoint_cases, full_disk_case, killed_rank_case):
        group(cases)
    checks.finish()


if __name__ == "__main__":
    main()
