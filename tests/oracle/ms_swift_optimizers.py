"""The cases of ms_swift_values.py that are not adapters: GaLore's optimizer, Q-GaLore's projector, LISA's schedule and
LoRA+'s groups. Each says its own format."""
import importlib.util
import sys
import types
from pathlib import Path

import torch
from ms_swift_record import Missing, case_directory, write_case

SHAPES = {"tall": (12, 8), "wide": (8, 12), "square": (9, 9), "plain": (10,)}
GALORE = dict(rank=3, update_proj_gap=3, scale=0.25)
ADAMW = dict(lr=1e-2, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)


def drawn(seed, shapes):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def galore(proj_type):
    """ms-swift's GaLoreAdamW over 7 steps with given gradients; the projection is refreshed at steps 0, 3 and 6.
    values: start.NAME, and for each step S: grad.S.NAME, projector.S.NAME (as stored; `full`: .left and .right),
    weight.S.NAME (after the step). NAME: tall, wide, square (projected) and plain (a vector, an ordinary AdamW group
    with no weight decay). A singular vector's sign is the library's choice: a test compares after taking ours from it."""
    def make(case):
        from swift.trainers.optimizers.galore.adamw import GaLoreAdamW

        weights = {name: torch.nn.Parameter(value) for name, value in drawn(1, SHAPES).items()}
        values = {"start." + name: weight.detach().clone() for name, weight in weights.items()}
        projected = [weight for weight in weights.values() if weight.dim() == 2]
        optimizer = GaLoreAdamW([{"params": projected, "proj_type": proj_type, **GALORE},
                                 {"params": [weights["plain"]], "weight_decay": 0.0}], **ADAMW)
        for step in range(7):
            for name, grad in drawn(100 + step, SHAPES).items():
                weights[name].grad = grad
                values[f"grad.{step}.{name}"] = grad.clone()
            optimizer.step()
            for name, weight in weights.items():
                values[f"weight.{step}.{name}"] = weight.detach().clone()
                if "projector" not in optimizer.state[weight]:
                    continue
                matrix = optimizer.state[weight]["projector"].ortho_matrix
                parts = {".left": matrix[0], ".right": matrix[1]} if isinstance(matrix, list) else {"": matrix}
                for side, part in parts.items():
                    values[f"projector.{step}.{name}{side}"] = part.clone()
        write_case(case_directory(case), values, dict(galore=GALORE, adamw=ADAMW, proj_type=proj_type, steps=7))
    return make


def q_galore_modules():
    """q_galore_torch's files without its package, whose import needs a GPU library; that library's names are empty."""
    for folder in sys.path:
        package = Path(folder) / "q_galore_torch"
        if (package / "q_galore_projector.py").is_file():
            break
    else:
        raise Missing("the package q_galore_torch 1.0")
    stand_ins = ["bitsandbytes", "bitsandbytes.optim", "bitsandbytes.optim.optimizer", "bitsandbytes.functional",
                 "q_galore_torch"]
    sys.modules.update({name: types.ModuleType(name) for name in stand_ins})
    sys.modules["bitsandbytes"].functional = sys.modules["bitsandbytes.functional"]
    sys.modules["bitsandbytes.optim.optimizer"].Optimizer2State = object
    loaded = []
    for name in ("q_galore_projector", "q_galore_adamw8bit"):
        spec = importlib.util.spec_from_file_location("q_galore_torch." + name, package / (name + ".py"))
        loaded.append(importlib.util.module_from_spec(spec))
        sys.modules[spec.name] = loaded[-1]
        spec.loader.exec_module(loaded[-1])
    for name in stand_ins:
        del sys.modules[name]
    return loaded


def q_galore(case):
    """Q-GaLore's projector and its INT8 weights, on the CPU.
    values, lazy subspace and quantised projection, for NAME tall and wide, 12 steps S with a slowly turning gradient:
    grad.S.NAME, low.S.NAME (projected), back.S.NAME (projected back, times scale), projector.S.NAME (uint8 as stored),
    projector_scale.S.NAME, projector_zero.S.NAME. case.json: gap.NAME, the update gap after each step, and
    refreshes.NAME, the SVDs so far.
    values, weights: weight.BITS (float), quantised.BITS, scale.BITS, zero.BITS, dequantised.BITS (nearest rounding),
    random.BITS (the uniform draws) and stochastic.BITS (the quantised result that they give)."""
    projector_file, optimizer_file = q_galore_modules()
    values, gaps, refreshes = {}, {}, {}
    settings = dict(rank=4, update_proj_gap=2, scale=0.5, quant=True, group_size=8, n_bit=4, cos_threshold=0.4,
                    gamma_proj=2, queue_size=2)
    for name in ("tall", "wide"):
        projector = projector_file.GaLoreProjector(**settings)
        gaps[name], refreshes[name] = [], []
        steady = drawn(1, SHAPES)[name]
        for step in range(12):
            grad = 3 * steady + 0.3 * drawn(200 + step, SHAPES)[name]
            low = projector.project(grad, step)
            values.update({f"grad.{step}.{name}": grad, f"low.{step}.{name}": low,
                           f"back.{step}.{name}": projector.project_back(low),
                           f"projector.{step}.{name}": projector.ortho_matrix,
                           f"projector_scale.{step}.{name}": projector.ortho_matrix_scales,
                           f"projector_zero.{step}.{name}": projector.ortho_matrix_zeros})
            gaps[name].append(projector.update_proj_gap)
            refreshes[name].append(projector.svd_count)
    adamw = optimizer_file.AdamW8bit.__new__(optimizer_file.AdamW8bit)
    for bits in (8, 4):
        weight = drawn(5, {"w": (6, 16)})["w"]
        quantised, scale, zero = adamw._quantize(weight, q_group_size=16, n_bit=bits)
        torch.manual_seed(9)
        random = torch.rand_like(weight.reshape(-1, 16))
        torch.manual_seed(9)
        stochastic = adamw._quantize_stochastic_round(weight, q_group_size=16, n_bit=bits)[0]
        values.update({f"weight.{bits}": weight, f"quantised.{bits}": quantised, f"scale.{bits}": scale,
                       f"zero.{bits}": zero, f"random.{bits}": random, f"stochastic.{bits}": stochastic,
                       f"dequantised.{bits}": adamw._dequantize(quantised, torch.float32, 16, scale, zero)})
    write_case(case_directory(case), values,
               dict(projector=settings, gap=gaps, refreshes=refreshes, weight_group_size=16))


def lisa(case):
    """ms-swift 4.6.0's LISACallback on the small llama: 1 layer of 4, interval 3, 8 steps of AdamW (lr 1e-3, betas 0.9
    and 0.999, eps 1e-6, no decay) over all parameters, those without a gradient left alone, same batch each step.
    case.json: drawn[S], the layers that train in step S (drawn at the start, again at step 0, 1, 3 and 6), changed[S],
    the layers whose weights differ after it; embeddings, final norm and head change in each. values: input_ids, losses
    [8] before each step, after.KEY, every parameter after the last."""
    import swift
    from ms_swift_language import base_model, next_token_loss, some_tokens

    try:
        from swift.callbacks.lisa import LISACallback
    except ImportError as problem:
        raise Missing("ms-swift 4.6.0, this is " + swift.__version__ + f" ({problem})") from None
    import numpy

    numpy.random.seed(4)
    model = base_model().train()
    arguments = types.SimpleNamespace(tuner_type="full", lisa_activated_layers=1, lisa_step_interval=3)
    callback = LISACallback(arguments, None)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.0)
    state = types.SimpleNamespace(global_step=0)
    callback.on_train_begin(arguments, state, None, model=model)
    input_ids = some_tokens()
    losses, drawn_layers, changed = [], [], []
    for step in range(8):
        state.global_step = step
        callback.on_step_begin(arguments, state, None)
        before = [[p.detach().clone() for p in layer.parameters()] for layer in model.model.layers]
        optimizer.zero_grad()
        loss = next_token_loss(input_ids)(model(input_ids, use_cache=False).logits)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        drawn_layers.append(sorted(int(i) for i in callback.active_layers_indices))
        changed.append([i for i, layer in enumerate(model.model.layers)
                        if any(not torch.equal(p, old) for p, old in zip(layer.parameters(), before[i]))])
    values = {"input_ids": input_ids, "losses": torch.tensor(losses)}
    values.update({"after." + name: parameter for name, parameter in model.named_parameters()})
    write_case(case_directory(case), values, dict(drawn=drawn_layers, changed=changed, layers=4, activated_layers=1,
                                                  step_interval=3))


def lora_plus(case):
    """case.json: for each model the groups of create_optimizer_param_groups(lr=1e-3, weight_decay=0.1) in order, each
    with its lr (null: the optimizer's), weight decay and the names of its tensors; empty groups too."""
    from ms_swift_language import adapter, base_model, lora
    from swift.tuners import Swift

    configs = {
        "linear": lora(target_modules=["q_proj", "up_proj"], lorap_lr_ratio=16.0),
        "embedding": lora(target_modules=["q_proj", "embed_tokens"], lorap_lr_ratio=4.0, lorap_emb_lr=5e-6),
        "saved": lora(target_modules=["q_proj"], modules_to_save=["model.norm", "lm_head"], lorap_lr_ratio=16.0),
        "off": lora(target_modules=["q_proj"]),
        "adapter": adapter(target_modules=["mlp"]),
        "llama_norms": lora(target_modules=["q_proj"], modules_to_save=["input_layernorm", "embed_tokens"],
                            lorap_lr_ratio=2.0),
    }
    facts = {}
    for name, config in configs.items():
        model = Swift.prepare_model(base_model(), config)
        name_of = {id(p): key for key, p in model.base_model.named_parameters()}
        groups = model.create_optimizer_param_groups(lr=1e-3, weight_decay=0.1)
        facts[name] = [dict(lr=group.get("lr"), weight_decay=group["weight_decay"],
                            names=[name_of[id(p)] for p in group["params"]]) for group in groups]
    write_case(case_directory(case), {}, dict(lr=1e-3, weight_decay=0.1, groups=facts))


CASES = {
    **{"galore_" + kind: galore(kind) for kind in ("std", "reverse_std", "left", "right", "full")},
    "q_galore": q_galore,
    "lisa": lisa,
    "lora_plus": lora_plus,
}
