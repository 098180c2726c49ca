#!/usr/bin/env python3
"""Every PEFT tuner we have, beside PEFT's own: same numbers from the same weights, files that travel both ways.

  .venv/bin/python tests/oracle/peft_tuners.py [--only NAME …] [--allow-missing] [--list] build/<tree>/tests/tuner_values_tool

For each case of tests/oracle/peft_tuner_cases.py PEFT puts the tuner on a small random decoder, every trainable tensor gets
small random values, PEFT saves it, and our tool loads that folder. Compared, each relative to the largest number of PEFT's
tensor: logits, logits with the adapter off and with it merged, loss, the gradient of every trained tensor, and the tensors,
losses and logits after three steps of AdamW. The folder that we save after training must hold what PEFT's holds, and PEFT
must load it without complaint and give our logits ("reload"). A fresh adapter of ours must start as PEFT's does ("fresh": what
it changes, where PEFT's changes nothing).

--only takes cases ("lora", "lora-dora") and tuners ("LORA": all of its cases). --all-in NAME … runs nothing and fails when
there is a case that those names leave out: CTest runs the cases in groups, and none may be forgotten. Exit code 1: a case differs by more than its limit
(1e-5 unless it says otherwise), or we have no such tuner (MISSING; with --allow-missing that alone is no failure).
"""
import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch

warnings.filterwarnings("ignore")

import tiny_models
from peft_tuner_cases import CASES

# Of different lengths; token 7 and 300 are the ones that trainable-token cases train.
ROWS = [[7, 300, 12, 55, 7, 9, 301, 383, 20, 31], [4, 300, 77, 181, 6], [250, 7, 8, 9, 10, 300, 42]]
# A large epsilon: Adam divides by the gradient, and would magnify the rounding of the smallest ones.
STEPS, LR, EPSILON = 3, 1e-3, 1e-3
# Keys of adapter_config.json that say where a file comes from, not what the adapter is.
PROVENANCE = {"auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision"}
SETS = {"target_modules", "exclude_modules", "modules_to_save", "feedforward_modules"}


class Missing(Exception):
    """We have no such tuner."""


class Oracle:
    """One case on PEFT's side."""

    def __init__(self, case, base):
        from peft import get_peft_model
        torch.manual_seed(3)
        self.case = case
        self.base = base
        self.model = get_peft_model(copy.deepcopy(base), case.config())

    def draw(self):
        """Leaves the start values."""
        self.randomise()
        self.case.prepare(self.model)

    def randomise(self):
        generator = torch.Generator().manual_seed(11)
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                if parameter.requires_grad:
                    scale = self.case.noise_of(name)
                    parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter.dtype) * scale)

    def save(self, directory):
        self.model.save_pretrained(directory)

    def keys(self):
        """File key, without prefix, of every trainable parameter: the stored tensor that shares its memory."""
        from peft import get_peft_model_state_dict
        stored = {}
        for key, tensor in get_peft_model_state_dict(self.model).items():
            stored.setdefault(tensor.data_ptr(), key)  # of tied modules, the first
        found = {}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad:
                found[plain(stored.get(parameter.data_ptr()) or self.case.key_of(name))] = parameter
        return found

    def values(self):
        """What the tool writes, under the same names."""
        out, parameters = {}, self.keys()
        out["logits"] = logits(self.model)
        out["disabled_logits"] = logits(self.base)
        if self.case.merges:
            merged = copy.deepcopy(self.model)
            merged.merge_adapter()
            out["merged_logits"] = logits(merged)
        if not self.case.trains:
            return out
        self.model.train()
        loss = training_loss(self.model)
        loss.backward()
        out["loss"] = loss.detach()
        out.update({f"grad.{key}": p.grad.clone() for key, p in parameters.items() if p.grad is not None})
        self.train(out, parameters)
        return out

    def train(self, out, parameters):
        optimizer = torch.optim.AdamW(parameters.values(), lr=LR, betas=(0.9, 0.999), eps=EPSILON, weight_decay=0.0)
        losses = []
        for step in range(STEPS):
            optimizer.zero_grad()
            loss = training_loss(self.model)
            loss.backward()
            optimizer.step()
            self.case.after_step(self.model, step)
            losses.append(loss.item())
        out["step_losses"] = torch.tensor(losses)
        out.update({f"step.{key}": p.detach().clone() for key, p in parameters.items()})
        out["final_logits"] = logits(self.model)


def plain(key):
    return key.removeprefix("base_model.model.").removeprefix("base_model.")


def logits(model):
    """[N, V] of all rows; without the rows of virtual tokens, which some tuners put before each sequence."""
    model.eval()
    with torch.no_grad():
        rows = [model(input_ids=torch.tensor([row])).logits[0, -len(row):] for row in ROWS]
    return torch.cat(rows)


def predicted(model, row):
    """How many tokens of a row the loss counts: behind a prompt the first one too, which its last virtual token predicts."""
    from peft import PeftType
    prompts = (PeftType.PROMPT_TUNING, PeftType.P_TUNING)
    return len(row) if model.peft_config["default"].peft_type in prompts else len(row) - 1


def training_loss(model):
    """The mean over all predicted tokens."""
    targets = sum(predicted(model, row) for row in ROWS)
    losses = []
    for row in ROWS:
        ids = torch.tensor([row])
        losses.append(model(input_ids=ids, labels=ids).loss * (predicted(model, row) / targets))
    return torch.stack(losses).sum()


def difference(wanted, seen):
    """Largest difference, relative to the largest wanted number."""
    if wanted.shape != seen.shape:
        return float("inf")
    if wanted.numel() == 0:  # AdaLoRA has left a module nothing
        return 0.0
    scale = wanted.abs().max().item()
    gap = (wanted.double() - seen.double()).abs().max().item()
    return gap if scale == 0 else gap / scale


def run_tool(tool, *arguments):
    finished = subprocess.run(list(map(str, (tool, *arguments))), capture_output=True, text=True, timeout=120)
    if "no such tuner" in finished.stderr:
        raise Missing(finished.stderr.strip())
    if finished.returncode != 0:
        raise RuntimeError(f"tuner_values_tool failed, exit code {finished.returncode}: {finished.stderr.strip()[-600:]}")


def our_values(tool, model_directory, folder, scratch, steps):
    from safetensors.torch import load_file
    ids = scratch / "ids.json"
    ids.write_text(json.dumps(ROWS))
    (scratch / "ours").mkdir()
    run_tool(tool, model_directory, folder, scratch / "ours", "--ids", ids, "--steps", steps, "--lr", LR, "--epsilon", EPSILON)
    return load_file(scratch / "ours/values.safetensors")


def make_ours(tool, model_directory, peft_folder, output):
    """A fresh adapter of ours with the options of PEFT's."""
    options = {key: value for key, value in configuration(peft_folder).items() if key not in PROVENANCE | {"peft_type"}}
    run_tool(tool, "--make", configuration(peft_folder)["peft_type"], json.dumps(options), model_directory, output)


def group(name):
    """Which figure of the printed line a tensor counts for."""
    return name.split(".")[0].removesuffix("_logits") if name != "logits" else name


def compare_values(case, wanted, seen):
    """Returns the worst difference per group, and what is wrong."""
    problems, worst = [], {}
    names = set(wanted) | {name for name in seen if case.trains or name in ("logits", "merged_logits")}
    for name in sorted(names):
        if name not in seen or name not in wanted:
            problems.append(f"only {'PEFT' if name in wanted else 'we'} have {name}")
            continue
        figure = difference(wanted[name], seen[name])
        worst[group(name)] = max(worst.get(group(name), 0.0), figure)
        if figure > case.limit_of(group(name)):
            problems.append(f"{name} differs by {figure:.1e} (PEFT's largest {wanted[name].abs().max():.3g})")
    return worst, problems


def compare_configurations(theirs, ours):
    """The two adapter_config.json must say the same; what we leave out must be PEFT's default or nothing."""
    def normal(key, value):
        if key in SETS and isinstance(value, list):
            return sorted(value)
        if key == "layers_pattern" and isinstance(value, str):
            return [value]  # PEFT takes both
        return None if value in ({}, []) else value

    problems = []
    for key in sorted((set(theirs) | set(ours)) - PROVENANCE):
        if key not in theirs:
            problems.append(f"adapter_config.json has a key that PEFT's has not: {key}")
        elif normal(key, theirs[key]) != normal(key, ours.get(key)):
            problems.append(f"adapter_config.json: {key} is {ours.get(key, '(left out)')!r}, PEFT's {theirs[key]!r}")
    return problems


def stored(folder):
    from safetensors.torch import load_file
    # PEFT adds the base's own embedding when one is a target; we read it and do not write it.
    return {key: tensor for key, tensor in load_file(folder / "adapter_model.safetensors").items()
            if not key.endswith(".base_layer.weight")}


def configuration(folder):
    return json.loads((folder / "adapter_config.json").read_text())


def compare_files(case, theirs, ours):
    """PEFT's trained folder and ours: the same configuration, keys and numbers."""
    problems = compare_configurations(configuration(theirs), configuration(ours))
    theirs, ours = stored(theirs), stored(ours)
    if theirs.keys() != ours.keys():
        problems.append(f"the files hold other tensors: {sorted(theirs.keys() ^ ours.keys())[:6]}")
    if case.trains:
        for key in sorted(theirs.keys() & ours.keys()):
            figure = difference(theirs[key], ours[key])
            if figure > case.limit_of("step"):
                problems.append(f"stored {key} differs by {figure:.1e}, shapes {list(theirs[key].shape)}, {list(ours[key].shape)}")
    return problems


def load_in_peft(base, folder):
    """The model, and what PEFT complains of."""
    from peft import PeftModel
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = PeftModel.from_pretrained(copy.deepcopy(base), folder)
    words = ("missing", "unexpected", "not match", "not found", "ignored")
    return model, {str(each.message) for each in caught if any(word in str(each.message).lower() for word in words)}


def compare_reload(case, base, folder, final_logits, accepted):
    """PEFT loads our folder: no complaint but those it has of its own, and our logits."""
    reloaded, complaints = load_in_peft(base, folder)
    problems = [f"PEFT warns of our folder: {message[:300]}" for message in complaints - accepted]
    figure = difference(logits(reloaded), final_logits)
    if figure > case.limit_of("reload"):
        problems.append(f"PEFT's logits of our folder differ by {figure:.1e}")
    return figure, problems


def rms(tensor):
    return tensor.double().square().mean().sqrt().item()


def compare_start_values(theirs, ours):
    """Two fresh adapters: zeros and constants where PEFT has them, numbers of the same size elsewhere."""
    problems = []
    wanted, seen = stored(theirs), stored(ours)
    for key in sorted(wanted.keys() | seen.keys()):
        if key not in wanted or key not in seen or wanted[key].shape != seen[key].shape:
            problems.append(f"fresh adapters hold other tensors: {key}")
        elif wanted[key].min() == wanted[key].max():
            if not torch.equal(wanted[key], seen[key]):
                problems.append(f"fresh {key} is not {wanted[key].flatten()[0].item()} everywhere")
        elif wanted[key].numel() >= 64 and not 0.7 < rms(seen[key]) / rms(wanted[key]) < 1.4:
            problems.append(f"fresh {key} has root mean square {rms(seen[key]):.3g}, PEFT's {rms(wanted[key]):.3g}")
    return problems


def compare_start(case, base, theirs, ours):
    """Two fresh adapters' values, and no effect on the logits when PEFT's has none."""
    problems = compare_start_values(theirs, ours)
    plain_logits = logits(base)
    if difference(plain_logits, logits(load_in_peft(base, theirs)[0])) > 1e-5:
        return None, problems
    figure = difference(plain_logits, logits(load_in_peft(base, ours)[0]))
    if figure > 1e-5:
        problems.append(f"our fresh adapter changes the logits by {figure:.1e}, PEFT's does not")
    return figure, problems


def run_case(case, tool, base, model_directory):
    """One line's figures and everything that is wrong."""
    with tempfile.TemporaryDirectory(prefix="tunefleet-tuner-") as scratch:
        scratch = Path(scratch)
        oracle = Oracle(case, base)
        oracle.save(scratch / "fresh")
        oracle.draw()
        oracle.save(scratch / "drawn")
        ours = our_values(tool, model_directory, scratch / "drawn", scratch, STEPS if case.trains else 0)
        wanted = oracle.values()
        oracle.save(scratch / "trained")
        worst, problems = compare_values(case, wanted, ours)
        effect = difference(wanted["disabled_logits"], wanted["logits"])
        if effect < 1e-3:
            problems.append(f"the case shows nothing: the adapter moves the logits by {effect:.1e} only")
        problems += compare_files(case, scratch / "trained", scratch / "ours/peft")
        accepted = load_in_peft(base, scratch / "trained")[1]
        worst["reload"], more = compare_reload(case, base, scratch / "ours/peft", ours["final_logits"], accepted)
        make_ours(tool, model_directory, scratch / "fresh", scratch / "our-fresh")
        fresh, even_more = compare_start(case, base, scratch / "fresh", scratch / "our-fresh")
        if fresh is not None:
            worst["fresh"] = fresh
        return worst, problems + more + even_more


def check_all_in(names):
    """Which cases the names do not select, or names that are none; None when all is well."""
    selectable = {name for case in CASES for name in (case.name, case.peft_type)}
    if names - selectable:
        return f"no such case or tuner: {', '.join(sorted(names - selectable))}"
    left_out = [case.name for case in CASES if not names & {case.name, case.peft_type}]
    return f"cases that no group runs: {', '.join(left_out)}" if left_out else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tool", type=Path, nargs="?")
    parser.add_argument("--only", nargs="+", action="extend", default=[])
    parser.add_argument("--allow-missing", action="store_true")
    parser.add_argument("--list", action="store_true", help="print the cases and stop")
    parser.add_argument("--all-in", nargs="+", metavar="NAME", help="check that these names select every case, and stop")
    options = parser.parse_args()
    if options.all_in:
        sys.exit(check_all_in(set(options.all_in)))
    if options.only and options.tool is None and Path(options.only[-1]).is_file():
        options.tool = Path(options.only.pop())
    wanted = set(options.only)
    cases = [case for case in CASES if not wanted or wanted & {case.name, case.peft_type}]
    unknown = wanted - {name for case in cases for name in (case.name, case.peft_type)}
    if unknown:
        sys.exit(f"no such case or tuner (--list names them): {', '.join(sorted(unknown))}")
    if options.list:
        print("\n".join(f"{case.peft_type:18} {case.name}" for case in cases))
        return
    if options.tool is None:
        parser.error("the path of tuner_values_tool is needed")
    sys.exit(1 if run_cases(cases, options) else 0)


def run_cases(cases, options):
    """Returns how many failed."""
    import transformers
    torch.set_num_threads(1)
    failed = missing = 0
    with tempfile.TemporaryDirectory(prefix="tunefleet-tiny-") as models:
        directories = {family: tiny_models.make(family, models) for family in {case.family for case in cases}}
        bases = {family: transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
                 for family, directory in directories.items()}
        for case in cases:
            started = time.monotonic()
            try:
                worst, problems = run_case(case, options.tool.resolve(), bases[case.family], directories[case.family])
            except Missing:
                missing += 1
                print(f"MISSING {case.name}: no tuner {case.peft_type}", flush=True)
                continue
            except Exception as error:  # one broken case must not hide the others
                worst, problems = {}, [f"{type(error).__name__}: {error}"]
            failed += bool(problems)
            figures = " ".join(f"{name} {worst[name]:.0e}" for name in sorted(worst))
            print(f"{'FAIL   ' if problems else 'ok     '} {case.name}: {figures} ({time.monotonic() - started:.1f} s)", flush=True)
            for problem in problems[:12]:
                print(f"          {problem}", flush=True)
            if len(problems) > 12:
                print(f"          and {len(problems) - 12} more", flush=True)
    print(f"{len(cases)} cases, {failed} failed, {missing} missing")
    return failed + (0 if options.allow_missing else missing)


if __name__ == "__main__":
    main()
