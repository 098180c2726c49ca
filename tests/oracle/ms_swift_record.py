"""Writes one case of ms_swift_values.py: the folder's layout and the meaning of every tensor are told there."""
import json
import shutil
from pathlib import Path

OUTPUT = Path(__file__).resolve().parent / "ms_swift"
ADAMW = dict(lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0)


class Missing(Exception):
    """A case cannot be made here; the text says what it needs."""


def case_directory(name):
    directory = OUTPUT / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def write_case(directory, values, facts):
    """Writes values.safetensors and case.json."""
    from safetensors.torch import save_file

    if values:
        tensors = {key: value.detach().clone().contiguous() for key, value in values.items()}
        save_file(tensors, directory / "values.safetensors", metadata={"format": "pt"})
    (directory / "case.json").write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")


def randomise(tensors, seed, std=0.1):
    """Random values away from any initial ones: vectors of norms near 1, everything else near 0."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, tensor in sorted(tensors.items()):
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.copy_((1.0 if "norm" in key and tensor.dim() == 1 else 0.0) + std * noise)


def trained_tensors(model, names):
    """File key -> parameter, of every tensor the adapters train; stops if something else requires grad."""
    found = {}
    for name in names:
        found.update(model.state_dict(adapter_name=name, keep_vars=True, save_extra_states=False))
    found = {key: value for key, value in found.items() if value.requires_grad}
    strangers = {id(p) for p in model.parameters() if p.requires_grad} - {id(value) for value in found.values()}
    assert not strangers, f"{len(strangers)} trainable parameters are not saved"
    return found


def record(case, model, run, loss_of, values, facts=None, seed=7, std=0.1, output="logits", before_eval=None,
           after_eval=None):
    """Randomises, saves, runs and trains one SwiftModel, and writes the case's folder. run() gives the output."""
    import torch

    directory = case_directory(case)
    names = list(model.adapters)
    trained = trained_tensors(model, names)
    randomise(trained, seed, std)
    model.save_pretrained(str(directory / "adapter"), safe_serialization=True)
    (before_eval or (lambda: None))()
    model.eval()
    with torch.no_grad():
        values[output] = run()
    (after_eval or (lambda: None))()
    model.train()
    optimizer = torch.optim.AdamW(list(trained.values()), **ADAMW)
    losses = []
    for step in range(3):
        optimizer.zero_grad()
        result = run()
        loss = loss_of(result)
        loss.backward()
        losses.append(loss.item())
        if step == 0:
            if not torch.allclose(result, values[output], rtol=0, atol=1e-6):
                values["train_" + output] = result
            for key, tensor in trained.items():
                values["grad." + key] = tensor.grad if tensor.grad is not None else torch.zeros_like(tensor)
            values = {key: value.detach().clone() for key, value in values.items()}
        optimizer.step()
    with torch.no_grad():
        losses.append(loss_of(run()).item())
    values["losses"] = torch.tensor(losses)
    values.update({"step3." + key: tensor for key, tensor in trained.items()})
    write_case(directory, values, {"adapters": names, "adamw": ADAMW, "trained": sorted(trained), **(facts or {})})
