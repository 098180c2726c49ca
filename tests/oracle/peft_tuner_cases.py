"""The cases of peft_tuners.py: one for each PEFT tuner and each option set that changes its mathematics or its files.

Sizes of the model (tiny_models.SIZES): hidden 48, q and o 48, k and v 16, feed-forward 80, vocabulary 384, two layers. Block
sizes divide 16, so that they divide all of them.
"""
from dataclasses import dataclass, field

ATTENTION = ["q_proj", "v_proj"]
SOME = ["q_proj", "v_proj", "down_proj"]  # square, tall and wide
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass
class Case:
    name: str
    config_class: str
    options: dict
    family: str = "llama"
    noise: float = 0.05       # added to PEFT's start values, so that nothing is the identity
    noises: dict = field(default_factory=dict)  # part of a parameter's name -> its own noise
    merges: bool = True       # PEFT can merge it
    trains: bool = True       # what PEFT saves is what it trains
    limit: float = 1e-5
    limits: dict = field(default_factory=dict)  # group of figures -> its own limit, with the reason beside
    keys: dict = field(default_factory=dict)    # parameter name -> file key, where they share no memory
    step_hook: object = None  # (model, step) after the optimizer's step
    setup: object = None      # (model) after the values are drawn
    patch: object = None      # () before PEFT makes the model: puts right what PEFT needs for the case

    @property
    def peft_type(self):
        return getattr(self.config().peft_type, "value", str(self.config().peft_type))

    def config(self):
        import peft
        if self.patch:
            self.patch()
        return getattr(peft, self.config_class)(**{"task_type": "CAUSAL_LM", **self.options})

    def prepare(self, model):
        if self.setup:
            self.setup(model)

    def noise_of(self, name):
        return next((noise for part, noise in self.noises.items() if part in name), self.noise)

    def limit_of(self, group):
        return self.limits.get(group, self.limit)

    def key_of(self, name):
        return self.keys.get(name, name)

    def after_step(self, model, step):
        if self.step_hook:
            self.step_hook(model, step)


def case(name, config_class, *, family="llama", noise=0.05, noises=None, merges=True, trains=True, limit=1e-5, limits=None,
         keys=None, step_hook=None, setup=None, patch=None, **options):
    return Case(name, config_class, options, family, noise, noises or {}, merges, trains, limit, limits or {}, keys or {},
                step_hook, setup, patch)


LORA = [
    case("lora", "LoraConfig", r=4, lora_alpha=8, target_modules=SOME),
    case("lora-all-linear", "LoraConfig", r=3, lora_alpha=5.5, target_modules="all-linear", family="llama-tied"),
    case("lora-rslora", "LoraConfig", r=4, target_modules=SOME, use_rslora=True),
    case("lora-dora", "LoraConfig", r=4, target_modules=ALL, use_dora=True),
    case("lora-pissa", "LoraConfig", r=4, target_modules=SOME, init_lora_weights="pissa"),
    case("lora-olora", "LoraConfig", r=4, target_modules=SOME, init_lora_weights="olora"),
    case("lora-embedding", "LoraConfig", r=4, target_modules=["embed_tokens", "q_proj"]),
    case("lora-embedding-dora", "LoraConfig", r=4, target_modules=["embed_tokens", "q_proj"], use_dora=True),
    case("lora-head", "LoraConfig", r=4, target_modules=["lm_head", "q_proj"]),
    case("lora-bias-all", "LoraConfig", r=4, target_modules=SOME, bias="all", family="qwen2-untied"),
    case("lora-bias-only", "LoraConfig", r=4, target_modules=SOME, bias="lora_only", family="qwen2-untied"),
    case("lora-own-bias", "LoraConfig", r=4, target_modules=ATTENTION, lora_bias=True, family="qwen2-untied"),
    case("lora-saved", "LoraConfig", r=4, target_modules=ATTENTION, modules_to_save=["lm_head", "norm", "embed_tokens"]),
    case("lora-tokens", "LoraConfig", r=4, target_modules=ATTENTION, trainable_token_indices=[7, 300]),
    case("lora-tokens-tied", "LoraConfig", r=4, target_modules=ATTENTION, trainable_token_indices=[7, 300],
         family="llama-tied"),
    case("lora-patterns", "LoraConfig", r=4, target_modules=SOME, rank_pattern={"v_proj": 2, r"layers\.1\.mlp\.down_proj": 6},
         alpha_pattern={"q_proj": 3}),
    case("lora-layers", "LoraConfig", r=4, target_modules=SOME, layers_to_transform=[1], layers_pattern="layers"),
    case("lora-exclude", "LoraConfig", r=4, target_modules="all-linear", exclude_modules=["down_proj", "k_proj"]),
    case("lora-regex", "LoraConfig", r=4, target_modules=r".*\.0\.(self_attn|mlp)\.(q|up)_proj"),
]

def boft_without_cuda():
    """PEFT cuts a butterfly to one factor unless its CUDA extension compiles: the same block diagonals in torch instead."""
    import torch
    import peft.tuners.boft.layer as boft

    class BlockDiagonals:
        @staticmethod
        def apply(blocks):
            return torch.stack([torch.block_diag(*each) for each in blocks])

    boft.get_fbd_cuda, boft.FastBlockDiag = (lambda: True), BlockDiagonals


MULTIPLICATIVE = [
    case("ia3", "IA3Config", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], noise=0.2),
    case("ia3-default", "IA3Config", noise=0.2),
    case("ia3-bias", "IA3Config", target_modules=["q_proj", "v_proj"], feedforward_modules=[], noise=0.2, family="qwen2-untied"),
    case("oft", "OFTConfig", oft_block_size=16, target_modules=SOME),
    case("oft-r", "OFTConfig", r=4, oft_block_size=0, target_modules=SOME),
    case("oft-cayley", "OFTConfig", oft_block_size=8, target_modules=SOME, use_cayley_neumann=False),
    case("oft-terms", "OFTConfig", oft_block_size=8, target_modules=SOME, num_cayley_neumann_terms=3),
    # Its numbers are kept below 2e-3, as small as Adam's steps: a gradient's rounding weighs more.
    case("oft-coft", "OFTConfig", oft_block_size=8, target_modules=SOME, coft=True, eps=1e-2, use_cayley_neumann=False,
         limits={"step": 5e-4}),
    case("oft-share", "OFTConfig", oft_block_size=8, target_modules=SOME, block_share=True),
    case("oft-bias", "OFTConfig", oft_block_size=8, target_modules=SOME, bias="oft_only", family="qwen2-untied"),
    case("boft", "BOFTConfig", boft_block_size=4, target_modules=SOME),
    case("boft-num", "BOFTConfig", boft_block_size=0, boft_block_num=8, target_modules=SOME),
    case("boft-butterfly", "BOFTConfig", boft_block_size=4, boft_n_butterfly_factor=3, target_modules=SOME,
         patch=boft_without_cuda),
    case("boft-bias", "BOFTConfig", boft_block_size=8, target_modules=SOME, bias="boft_only", family="qwen2-untied"),
    case("hra", "HRAConfig", r=4, target_modules=SOME),
    # Its vectors start as equal pairs: too near to them PEFT's Gram-Schmidt loses its digits.
    case("hra-gs", "HRAConfig", r=4, target_modules=SOME, apply_GS=True, noise=0.3),
    case("hra-odd", "HRAConfig", r=3, target_modules=SOME),
    case("road-1", "RoadConfig", variant="road_1", group_size=16, target_modules=SOME),
    case("road-2", "RoadConfig", variant="road_2", group_size=8, target_modules=SOME),
    case("road-4", "RoadConfig", variant="road_4", group_size=8, target_modules=SOME),
]

LOW_RANK = [
    case("vera", "VeraConfig", r=8, target_modules=["q_proj", "o_proj"], noise=0.2),
    case("vera-shapes", "VeraConfig", r=8, target_modules=SOME, noise=0.2, projection_prng_key=3),
    case("vera-unsaved", "VeraConfig", r=8, target_modules=SOME, noise=0.2, save_projection=False),
    case("loha", "LoHaConfig", r=4, alpha=6, target_modules=SOME, noise=0.2),
    case("loha-patterns", "LoHaConfig", r=4, alpha=6, target_modules=SOME, noise=0.2, rank_pattern={"v_proj": 2},
         alpha_pattern={"q_proj": 3}),
    case("lokr", "LoKrConfig", r=4, alpha=6, target_modules=SOME, noise=0.1),
    case("lokr-factor", "LoKrConfig", r=2, alpha=6, target_modules=SOME, decompose_factor=4, noise=0.1),
    case("lokr-both", "LoKrConfig", r=2, alpha=6, target_modules=SOME, decompose_both=True, noise=0.1),
    case("lokr-full", "LoKrConfig", r=32, alpha=6, target_modules=SOME, noise=0.1),
    case("lokr-dropout", "LoKrConfig", r=4, alpha=6, target_modules=SOME, noise=0.1, rank_dropout_scale=True),
    case("vblora", "VBLoRAConfig", r=4, num_vectors=24, vector_length=16, target_modules=SOME,
         noises={"vector_bank": 0.2, "logits": 0.3}),
    case("vblora-topk", "VBLoRAConfig", r=2, num_vectors=24, vector_length=8, topk=3, target_modules=SOME,
         noises={"vector_bank": 0.2, "logits": 0.3}),
    case("vblora-small-file", "VBLoRAConfig", r=4, num_vectors=24, vector_length=16, target_modules=SOME, trains=False,
         save_only_topk_weights=True, noises={"vector_bank": 0.2, "logits": 0.3}),
    case("randlora", "RandLoraConfig", r=8, randlora_alpha=16, target_modules=SOME),
    case("randlora-sparse", "RandLoraConfig", r=8, randlora_alpha=16, target_modules=SOME, sparse=True),
    case("randlora-very-sparse", "RandLoraConfig", r=8, randlora_alpha=16, target_modules=SOME, very_sparse=True),
    case("hira", "HiraConfig", r=4, target_modules=SOME),
]


def right_c3a_gradient(model):
    """PEFT 0.21.2's own gradient of C3A's input is that of a mirrored kernel; everything below such a layer trains on it."""
    import torch
    from peft.tuners.c3a.utils import BlockCircularConvolution

    def backward(ctx, grad):
        x, w = ctx.saved_tensors
        grad = torch.fft.fft(grad.reshape(*grad.shape[:-1], w.shape[0], w.shape[2]))
        x_grad = torch.fft.ifft(torch.einsum("...mb,mnb->...nb", grad, torch.fft.fft(w))).real
        w_grad = torch.fft.fft(torch.einsum("...mb,...nb->mnb", grad, torch.fft.ifft(x))).real
        return x_grad.flatten(-2), w_grad

    BlockCircularConvolution.backward = staticmethod(backward)


SPECTRAL = [
    case("fourierft", "FourierFTConfig", n_frequency=40, scaling=20.0, target_modules=SOME),
    case("fourierft-patterns", "FourierFTConfig", n_frequency=40, scaling=20.0, target_modules=SOME, random_loc_seed=5,
         n_frequency_pattern={"v_proj": 11}),
    case("waveft", "WaveFTConfig", n_frequency=60, scaling=25.0, target_modules=SOME),
    case("waveft-db2", "WaveFTConfig", n_frequency=60, scaling=25.0, target_modules=SOME, wavelet_family="db2"),
    case("waveft-plain", "WaveFTConfig", n_frequency=60, scaling=5.0, target_modules=SOME, use_idwt=False),
    case("waveft-proportional", "WaveFTConfig", n_frequency=60, scaling=25.0, target_modules=SOME,
         proportional_parameters=True),
    case("c3a", "C3AConfig", block_size=16, target_modules=SOME, setup=right_c3a_gradient),
    case("c3a-patterns", "C3AConfig", block_size=16, target_modules=SOME, block_size_pattern={"down_proj": 8},
         setup=right_c3a_gradient),
    case("shira", "ShiraConfig", r=4, random_seed=3, target_modules=SOME),
    case("miss", "MissConfig", r=8, target_modules=SOME),
    case("miss-ragged", "MissConfig", r=7, target_modules=SOME),
    case("miss-bat", "MissConfig", r=8, target_modules=SOME, init_weights="bat"),
    case("miss-mini", "MissConfig", r=8, mini_r=4, target_modules=SOME, init_weights="mini"),
]

WHOLE = [
    case("ln-tuning", "LNTuningConfig"),
    case("ln-tuning-some", "LNTuningConfig", target_modules=["input_layernorm", "norm"], family="qwen3"),
    case("trainable-tokens", "TrainableTokensConfig", token_indices=[7, 300], target_modules=["embed_tokens"]),
    case("trainable-tokens-tied", "TrainableTokensConfig", token_indices=[7, 300], target_modules=["embed_tokens"],
         family="llama-tied"),
]


def allocate(model, step):
    model.base_model.update_and_allocate(step + 1)


def prune(model):
    """AdaLoRA's schedule to its end, so that what is saved has ranks of its own at every module."""
    import torch
    for step in range(model.peft_config["default"].total_step):
        model(input_ids=torch.tensor([[7, 300, 12, 55 + step]]), labels=torch.tensor([[7, 300, 12, 55 + step]])).loss.backward()
        allocate(model, step)
        model.zero_grad()


ADALORA = [
    case("adalora", "AdaLoraConfig", init_r=6, target_r=2, lora_alpha=8, tinit=0, tfinal=0, deltaT=1, total_step=40,
         target_modules=SOME, step_hook=allocate, noises={"lora_E": 0.3}),
    case("adalora-late", "AdaLoraConfig", init_r=4, target_r=2, lora_alpha=8, tinit=1, tfinal=1, deltaT=2, total_step=4,
         target_modules=SOME, step_hook=allocate, noises={"lora_E": 0.3}),
    case("adalora-pruned", "AdaLoraConfig", init_r=6, target_r=2, lora_alpha=8, tinit=1, tfinal=2, total_step=6,
         target_modules=SOME, setup=prune, trains=False, noises={"lora_E": 0.3}),
]

PROMPT_KEY = {"prompt_encoder.default.embedding.weight": "prompt_embeddings"}

PROMPTS = [
    case("prompt-tuning", "PromptTuningConfig", num_virtual_tokens=5, merges=False, keys=PROMPT_KEY),
    case("prompt-tuning-qwen3", "PromptTuningConfig", num_virtual_tokens=3, merges=False, keys=PROMPT_KEY, family="qwen3"),
    case("prefix-tuning", "PrefixTuningConfig", num_virtual_tokens=5, merges=False, keys=PROMPT_KEY),
    case("prefix-tuning-qwen3", "PrefixTuningConfig", num_virtual_tokens=3, merges=False, keys=PROMPT_KEY, family="qwen3"),
    # PEFT trains a network that makes the prompt, and saves the prompt only.
    case("p-tuning", "PromptEncoderConfig", num_virtual_tokens=5, encoder_hidden_size=32, merges=False, trains=False),
    case("p-tuning-lstm", "PromptEncoderConfig", num_virtual_tokens=5, encoder_hidden_size=32, merges=False, trains=False,
         encoder_reparameterization_type="LSTM"),
]

CASES = LORA + ADALORA + LOW_RANK + MULTIPLICATIVE + SPECTRAL + WHOLE + PROMPTS
