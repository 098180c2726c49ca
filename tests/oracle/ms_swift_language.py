"""The cases of ms_swift_values.py on language models: a llama of 4 layers, hidden 32, 4 heads, 2 key-value heads,
feed-forward 48, vocabulary 128, untied, with random weights."""
import torch
import transformers
from ms_swift_record import OUTPUT, Missing, case_directory, record, write_case

ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
LINEAR = ATTENTION + ["gate_proj", "up_proj", "down_proj"]


def make_model(directory):
    config = transformers.LlamaConfig(
        vocab_size=128, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=128, rope_theta=10000.0, tie_word_embeddings=False,
        bos_token_id=1, eos_token_id=2)
    torch.manual_seed(5)
    model = transformers.LlamaForCausalLM(config).float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.2)
    model.save_pretrained(directory)


def base_model():
    directory = OUTPUT / "model"
    if not (directory / "model.safetensors").exists():
        make_model(directory)
    return transformers.LlamaForCausalLM.from_pretrained(directory, torch_dtype=torch.float32,
                                                         attn_implementation="sdpa")


def some_tokens(rows=2, length=16):
    return torch.randint(0, 128, (rows, length), generator=torch.Generator().manual_seed(11))


def next_token_loss(input_ids):
    def loss_of(logits):
        return torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.size(-1)),
                                                 input_ids[:, 1:].reshape(-1))
    return loss_of


def language_case(configs, facts=None, length=16, patched=False, restores=True):
    """A case from a SwiftConfig or {adapter name: SwiftConfig}. `patched`: eval runs transformers' own attention.
    `restores`: ms-swift gives back its base when everything is deactivated (it does not for modules_to_save)."""
    def make(case):
        from swift.tuners import Swift

        config_of = configs()
        input_ids = some_tokens(length=length)
        base = base_model().eval()
        with torch.no_grad():
            base_logits = base(input_ids).logits
        model = Swift.prepare_model(base_model(), config_of)
        attentions = [module for name, module in model.named_modules() if name.endswith("self_attn")]
        forwards = [module.forward for module in attentions]

        def before_eval():
            if patched:
                for module in attentions:
                    del module.forward

        def after_eval():
            if patched:
                for module, forward in zip(attentions, forwards):
                    module.forward = forward
            elif restores:
                model.eval()
                model.set_active_adapters([])
                with torch.no_grad():
                    assert torch.equal(model(input_ids, use_cache=False).logits, base_logits), case
                model.set_active_adapters(list(model.adapters))

        record(case, model, lambda: model(input_ids, use_cache=False).logits, next_token_loss(input_ids),
               {"input_ids": input_ids, "base_logits": base_logits}, facts, before_eval=before_eval,
               after_eval=after_eval)
    return make


def lora(**fields):
    from swift.tuners import LoRAConfig
    return LoRAConfig(**{**dict(r=4, lora_alpha=8, lora_dropout=0.0, lorap_lr_ratio=None), **fields})


def adapter(**fields):
    from swift.tuners import AdapterConfig
    return AdapterConfig(**{**dict(dim=32, hidden_pos=0, adapter_length=8), **fields})


def llamapro(**fields):
    from swift.tuners import LLaMAProConfig
    return LLaMAProConfig(**{**dict(model_type="llama"), **fields})


def part(**fields):
    from swift.tuners.part import PartConfig
    return PartConfig(**fields)


def longlora(**fields):
    if not (4, 45) <= tuple(int(n) for n in transformers.__version__.split(".")[:2]) <= (4, 47):
        raise Missing("transformers 4.45 to 4.47, this is " + transformers.__version__)
    from swift.tuners import LongLoRAConfig
    return LongLoRAConfig(**{**dict(r=4, lora_alpha=8, model_type="llama", target_modules=ATTENTION), **fields})


def neftune(case):
    """case.json: noise_alpha, and per sequence length the bound mu = noise_alpha / sqrt(L * D), and the smallest and
    largest noise seen on the embeddings of 64 rows in train mode; none in eval mode."""
    from swift.tuners import NEFTuneConfig, Swift

    alpha = 5.0
    model = Swift.prepare_model(base_model(), NEFTuneConfig(noise_alpha=alpha))
    embedding = model.base_model.get_input_embeddings()
    seen = []
    torch.manual_seed(3)
    for length in (1, 7, 16):
        input_ids = some_tokens(64, length)
        plain = torch.nn.functional.embedding(input_ids, embedding.weight)
        model.train()
        noise = (embedding(input_ids) - plain).detach()
        model.eval()
        assert torch.equal(embedding(input_ids), plain)
        bound = alpha / (length * embedding.weight.size(1)) ** 0.5
        seen.append(dict(length=length, bound=bound, lowest=noise.min().item(), highest=noise.max().item(),
                         mean_square=noise.square().mean().item()))
    directory = case_directory(case)
    model.adapters["default"].config.save_pretrained(str(directory / "adapter" / "default"))
    write_case(directory, {}, dict(noise_alpha=alpha, dim=32, seen=seen))


CASES = {
    "llamapro": language_case(lambda: llamapro(num_new_blocks=2), dict(new_layers=[2, 5])),
    "llamapro_groups": language_case(lambda: llamapro(num_new_blocks=4, num_groups=1), dict(new_layers=[4])),
    "adapter": language_case(lambda: adapter(target_modules=["mlp"])),
    "adapter_layers": language_case(lambda: adapter(target_modules=r"model\.layers\.[13]", act_layer="relu",
                                                    adapter_length=5)),
    "longlora": language_case(longlora, patched=True),
    "longlora_half": language_case(lambda: longlora(group_size_ratio=0.5, embedder_and_normalizer=r".*norm\.weight",
                                                    target_modules=["q_proj", "v_proj"]), length=24, patched=True),
    "lora": language_case(lambda: lora(target_modules=LINEAR)),
    "lora_rslora": language_case(lambda: lora(target_modules=["q_proj", "down_proj"], use_rslora=True)),
    "lora_dora": language_case(lambda: lora(target_modules=["v_proj", "up_proj"], use_dora=True)),
    "lora_embedding": language_case(lambda: lora(target_modules=["embed_tokens", "q_proj"])),
    "lora_saved": language_case(lambda: lora(target_modules=["q_proj"], modules_to_save=["model.norm", "lm_head"]),
                                restores=False),
    "lora_two": language_case(lambda: {"first": lora(target_modules=["q_proj"]),
                                       "second": lora(target_modules=["up_proj"], r=2)}),
    "adapter_two": language_case(lambda: {"first": adapter(target_modules=["mlp"]),
                                          "second": adapter(target_modules=r"model\.layers\.[02]\.mlp",
                                                            adapter_length=4)}),
    "lora_and_adapter": language_case(lambda: {"low": lora(target_modules=ATTENTION),
                                               "bottle": adapter(target_modules=["mlp"])}),
    "part": language_case(lambda: part(target_modules=r"model\.norm|model\.layers\.1\.(mlp\.up_proj|self_attn)")),
    "part_and_lora": language_case(lambda: {"whole": part(target_modules=r"model\.layers\.2\.mlp\.up_proj"),
                                            "low": lora(target_modules=["up_proj", "q_proj"])}),
    "neftune": neftune,
}
