"""Tokenizers of the families people fine-tune, trained here on tests/oracle/tokenizer_corpus.py, with the regular
expressions, added tokens and options that the real ones have.

    .venv/bin/python tests/oracle/tokenizer_cases.py fixtures DIR   small tokenizer.json files and the ids of some texts
    .venv/bin/python tests/oracle/tokenizer_cases.py families DIR   full-sized ones, for the large comparison
"""

import json
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

sys.path.insert(0, str(Path(__file__).parent))
from tokenizer_corpus import CODE, EMOJI, MARKS, NUMBERS, PROSE, SPACES, SPECIAL, texts  # noqa: E402

LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+",
])


def byte_level(**options):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, "use_regex": False, **options})


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated", invert=False), byte_level()])


def special(*contents, **options):
    return [AddedToken(c, special=True, normalized=False, **options) for c in contents]


def bos_template(tokenizer, token):
    template = processors.TemplateProcessing(
        single=f"{token} $A", pair=f"{token} $A {token}:1 $B:1", special_tokens=[(token, tokenizer.token_to_id(token))]
    )
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])


FAMILIES = {
    "gpt2": {"pre": byte_level(use_regex=True), "added": special("<|endoftext|>")},
    "smollm": {
        "pre": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(use_regex=True)]),
        "added": special("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<file_sep>"),
    },
    "llama3": {
        "pre": split_then_bytes(LLAMA3),
        "added": special("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
        "bos": "<|begin_of_text|>",
        "ignore_merges": True,
    },
    "qwen2": {
        "pre": split_then_bytes(QWEN2),
        "added": special("<|endoftext|>", "<|im_start|>", "<|im_end|>") + [AddedToken("<think>", normalized=False)],
        "normalizer": normalizers.NFC(),
    },
    "o200k": {"pre": split_then_bytes(O200K), "added": special("<|endoftext|>")},
    "stripping": {  # every option of added tokens, a prefix space, and normalizers in a row
        "pre": byte_level(use_regex=True, add_prefix_space=True),
        "added": special("<s>", "</s>", rstrip=True)
        + special("[MASK]", lstrip=True)
        + [AddedToken("fox", single_word=True), AddedToken("Groß", normalized=True), AddedToken("  ", normalized=True)],
        "normalizer": normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace("ö", "oe")]),
    },
    "behaviours": {
        "pre": pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(r"\s+"), "merged_with_next"),
            pre_tokenizers.Split(",", "merged_with_previous"),
            pre_tokenizers.Split(Regex(r"[a-z]+"), "contiguous", invert=True),
            pre_tokenizers.Punctuation("contiguous"),
            pre_tokenizers.Digits(individual_digits=False),
            byte_level(),
        ]),
        "added": special("<|endoftext|>"),
        "normalizer": normalizers.Sequence([normalizers.NFD(), normalizers.Prepend("_")]),
    },
}


def train(family, vocab_size, corpus):
    tokenizer = Tokenizer(models.BPE())
    if "normalizer" in family:
        tokenizer.normalizer = family["normalizer"]
    tokenizer.pre_tokenizer = family["pre"]
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens(family["added"])
    if "bos" in family:
        bos_template(tokenizer, family["bos"])
    if family.get("ignore_merges"):  # drop some merges, so that words are in the vocabulary that no merge reaches
        config = json.loads(tokenizer.to_str())
        config["model"]["ignore_merges"] = True
        config["model"]["merges"] = [m for i, m in enumerate(config["model"]["merges"]) if i % 11 or i < 50]
        tokenizer = Tokenizer.from_str(json.dumps(config))
    return tokenizer


def write_fixtures(directory):
    """A few KB each: the 256 bytes and few merges; and the ids of the corpus's seeds."""
    samples = PROSE.split("\n") + CODE.split("\n\n") + SPECIAL + MARKS + NUMBERS
    samples += ["", "a" + "".join(SPACES) + "b", "".join(EMOJI), " fox foxes fox", "a  [MASK] b <s>  c </s>\n", "don't DON'T"]
    for name, family in FAMILIES.items():
        tokenizer = train(family, 420, [PROSE, CODE])
        (directory / f"{name}.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False) + "\n")
        cases = [
            {
                "text": text,
                "ids": tokenizer.encode(text, add_special_tokens=False).ids,
                "with_special": tokenizer.encode(text).ids,
                "decoded": tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=True),
            }
            for text in samples
        ]
        lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
        (directory / f"{name}.cases.json").write_text(f"[\n{lines}\n]\n")


def write_families(directory):
    corpus = list(texts(1 << 20, seed=7))
    for name, family in FAMILIES.items():
        train(family, 12000, corpus).save(str(directory / f"{name}.json"))


def main():
    directory = Path(sys.argv[2])
    directory.mkdir(parents=True, exist_ok=True)
    {"fixtures": write_fixtures, "families": write_families}[sys.argv[1]](directory)


if __name__ == "__main__":
    main()
