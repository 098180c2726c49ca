#!/usr/bin/env python3
"""Makes small decoders with random weights, each with a byte-level BPE tokenizer and a ChatML template, in seconds.

  tiny_models.py OUTPUT_DIR [--family llama …]

Each is a Hugging Face directory named after its family. They hold what distinguishes the family (qkv bias, qk norm, rope
scaling, tied or untied embeddings, grouped queries, several shards), at widths that are not powers of two.
"""
import argparse
import json
from pathlib import Path

VOCABULARY = 384
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
CORPUS = ["Define happiness. An agreeable sensation arising from contemplating the misery of another.",
          "for (int i = 0; i < 10; ++i) { total += values[i]; }", "The year 1911 had 365 days, and so had 1912's elder."]

# What every family shares; head_dim * heads differs from hidden_size on purpose where a family allows it.
SIZES = dict(vocab_size=VOCABULARY, hidden_size=48, intermediate_size=80, num_hidden_layers=2, num_attention_heads=6,
             num_key_value_heads=2, max_position_embeddings=512, bos_token_id=1, eos_token_id=2, pad_token_id=2)


def rope(kind, **fields):
    return {"rope_theta": 10000.0, "rope_type": kind, **fields}


# family: (config class, its fields, shard size)
FAMILIES = {
    "llama": ("LlamaConfig", dict(tie_word_embeddings=False), None),
    "llama-tied": ("LlamaConfig", dict(tie_word_embeddings=True), None),
    "llama-no-gqa": ("LlamaConfig", dict(num_key_value_heads=6, tie_word_embeddings=False), None),
    "llama-linear-rope": ("LlamaConfig", dict(rope_parameters=rope("linear", factor=2.5)), None),
    "llama-llama3-rope": ("LlamaConfig", dict(rope_parameters=rope(
        "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64)), None),
    "llama-rope-scaling": ("LlamaConfig", dict(rope_parameters=rope(
        "llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=2.0, original_max_position_embeddings=32)), None),
    "llama-yarn-rope": ("LlamaConfig", dict(rope_parameters=rope(
        "yarn", factor=4.0, original_max_position_embeddings=64)), None),
    "llama-sharded": ("LlamaConfig", dict(tie_word_embeddings=False), "40KB"),
    "qwen2": ("Qwen2Config", dict(tie_word_embeddings=True), None),
    "qwen2-untied": ("Qwen2Config", dict(tie_word_embeddings=False), None),
    "qwen3": ("Qwen3Config", dict(head_dim=16, tie_word_embeddings=False), None),
    "mistral": ("MistralConfig", dict(sliding_window=None, head_dim=12), None),
}


def save_tokenizer(directory):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"], show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>",
                            pad_token="<|im_end|>", unk_token="<|endoftext|>",
                            chat_template=CHAT_TEMPLATE).save_pretrained(directory)


def write_old_rope_keys(directory):
    """Writes rope_theta and rope_scaling, as configs did before transformers 5, in place of rope_parameters."""
    path = directory / "config.json"
    config = json.loads(path.read_text())
    scaling = config.pop("rope_parameters")
    config["rope_theta"] = scaling.pop("rope_theta")
    config["rope_scaling"] = scaling
    path.write_text(json.dumps(config, indent=2))


def make(family, parent):
    """Writes the family's model under `parent` and returns its directory. Same weights on every call."""
    import torch
    import transformers

    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    config_class, fields, shard_size = FAMILIES[family]
    config = getattr(transformers, config_class)(**{**SIZES, **fields})
    torch.manual_seed(5)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Larger than the usual start, and no bias or norm left at 0 or 1, so that a wrong one shows.
            parameter.normal_(1.0 if "norm" in name else 0.0, 0.2)
    directory = Path(parent) / family
    model.save_pretrained(directory, **({"max_shard_size": shard_size} if shard_size else {}))
    if family == "llama-rope-scaling":
        write_old_rope_keys(directory)
    save_tokenizer(directory)
    return directory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--family", nargs="+", default=list(FAMILIES), choices=FAMILIES)
    options = parser.parse_args()
    for family in options.family:
        print(make(family, options.output))


if __name__ == "__main__":
    main()
