#include "tuners/virtual_token_tuners.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include "tuners/initial_values.h"

namespace tunefleet::tuners {
namespace {

/// Layers in the list as it stands.
int64_t layer_count(BaseModel& base) {
  LayerList* list = base.layer_list();
  return list == nullptr ? base.sequence_site()->num_layers
                         : static_cast<int64_t>(list->origins().size());
}

Status set_or_check(std::optional<int64_t>& option, int64_t value, std::string_view key) {
  if (option.value_or(value) != value) {
    return fail(ErrorCode::kInvalidArgument,
                c10::str("the virtual tokens are for another model: ", std::string(key), " ",
                         *option, ", this one's is ", value));
  }
  option = value;
  return {};
}

/// Fills in what the model says of itself. `heads`: those that num_attention_heads counts.
Status fit(VirtualTokenOptions& tokens, BaseModel& base, int64_t heads, int64_t width) {
  const std::pair<std::optional<int64_t>*, std::pair<const char*, int64_t>> wanted[] = {
      {&tokens.token_dim, {"token_dim", width}},
      {&tokens.num_attention_heads, {"num_attention_heads", heads}},
      {&tokens.num_layers, {"num_layers", layer_count(base)}},
      {&tokens.num_transformer_submodules, {"num_transformer_submodules", 1}}};
  for (const auto& [option, fact] : wanted) {
    if (auto status = set_or_check(*option, fact.second, fact.first); !status) return status;
  }
  return {};
}

Result<const SequenceSite*> site_of(BaseModel& base) {
  if (base.sequence_site() != nullptr) return base.sequence_site();
  return fail(ErrorCode::kInvalidArgument,
              "this model takes no virtual tokens: " + base.name_or_path());
}

TunerPlace place_of(const AdapterRequest& request) {
  return {.path = "prompt_encoder." + request.name,
          .seed = request.seed,
          .device = request.base.parameters().front()->base.device()};
}

at::Tensor random_tokens(int64_t count, int64_t width, const TunerPlace& place) {
  const RandomStream stream(place.seed, stream_id(place.inside("embedding.weight").path));
  return normal_values({count, width}, 1.0, stream);
}

/// Rows of the input embedding.
at::Tensor embeddings_of(BaseModel& base, const std::vector<int64_t>& ids) {
  const at::NoGradGuard no_grad;
  auto rows = at::empty({static_cast<int64_t>(ids.size())}, at::kLong);
  std::copy(ids.begin(), ids.end(), rows.mutable_data_ptr<int64_t>());
  const at::Tensor& table = base.embedding_sites().front()->weight.value();
  return table.index_select(0, rows.to(table.device())).to(at::kFloat);
}

/// Tokens of the vocabulary, each as likely as any other.
std::vector<int64_t> drawn_ids(int64_t count, int64_t vocabulary, const TunerPlace& place) {
  RandomStream stream(place.seed, stream_id(place.inside("sampled_vocabulary").path));
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<int64_t>(stream.uniform() * static_cast<double>(vocabulary)));
  return ids;
}

/// The text's tokens, cut or repeated to `count`.
Result<std::vector<int64_t>> text_ids(const PromptTuningOptions& options, int64_t vocabulary) {
  const auto& given = options.prompt_tuning_init_ids;
  if (given.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "prompt_tuning_init TEXT needs the text's token ids, which only a job finds out by "
                "itself: give them as prompt_tuning_init_ids");
  }
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < options.tokens.num_virtual_tokens; ++i) {
    ids.push_back(given[static_cast<size_t>(i) % given.size()]);
    if (ids.back() < vocabulary) continue;
    return fail(ErrorCode::kInvalidArgument,
                c10::str("prompt_tuning_init_ids has a token that the model has not: ", ids.back(),
                         ", it has ", vocabulary));
  }
  return ids;
}

Result<at::Tensor> first_values(const PromptTuningOptions& options, const AdapterRequest& request) {
  const TunerPlace place = place_of(request);
  const int64_t count = options.tokens.num_virtual_tokens, width = *options.tokens.token_dim;
  const bool from_embedding = request.fresh && options.prompt_tuning_init != "RANDOM";
  if (!from_embedding) return random_tokens(count, width, place);
  if (request.base.embedding_sites().empty()) {
    return fail(
        ErrorCode::kInvalidArgument,
        "the model has no embedding to start virtual tokens from: " + request.base.name_or_path());
  }
  const int64_t vocabulary = request.base.embedding_sites().front()->weight.base.size(0);
  if (options.prompt_tuning_init == "SAMPLE_VOCAB")
    return embeddings_of(request.base, drawn_ids(count, vocabulary, place));
  const auto ids = text_ids(options, vocabulary);
  if (!ids) return fail(ids.error());
  return embeddings_of(request.base, *ids);
}

/// PEFT refuses a TEXT without these two.
void name_tokenizer(PromptTuningOptions& options, const BaseModel& base) {
  if (options.prompt_tuning_init != "TEXT") return;
  if (!options.tokenizer_name_or_path) options.tokenizer_name_or_path = base.name_or_path();
  if (!options.prompt_tuning_init_text) options.prompt_tuning_init_text = "";
}

std::unique_ptr<PromptNetwork> p_tuning_network(const PTuningOptions& options,
                                                const TunerPlace& place) {
  const int64_t width = *options.tokens.token_dim, hidden = *options.encoder_hidden_size;
  if (options.encoder_reparameterization_type == "LSTM") {
    return std::make_unique<PromptLstm>(PromptLstm::Shape{.width = width,
                                                          .hidden = hidden,
                                                          .layers = options.encoder_num_layers,
                                                          .dropout = options.encoder_dropout},
                                        place);
  }
  return std::make_unique<PromptMlp>(std::vector<int64_t>{width, hidden, hidden, width},
                                     activation("relu"), "mlp_head", place);
}

LearnedPrompt first_prefix(const PrefixTuningOptions& options, const AdapterRequest& request) {
  const TunerPlace place = place_of(request);
  const int64_t count = options.tokens.num_virtual_tokens, dim = *options.tokens.token_dim;
  const int64_t width = 2 * *options.tokens.num_layers * dim;
  const bool zero = options.init_weights == "zero";
  if (!options.prefix_projection) {
    return LearnedPrompt(
        zero ? at::zeros({count, width}, at::kFloat) : random_tokens(count, width, place), place);
  }
  auto network =
      std::make_unique<PromptMlp>(std::vector<int64_t>{dim, *options.encoder_hidden_size, width},
                                  activation("tanh"), "transform", place);
  if (zero) network->zero_last();
  return LearnedPrompt(random_tokens(count, dim, place), std::move(network), request.fresh, place);
}

}  // namespace

std::vector<KeysValues> KeyValuePrefix::keys_values(const ForwardContext& context) const {
  const auto parts =
      prompt_.values(context).view({prompt_.count(), 2 * layers_, heads_, -1}).unbind(1);
  std::vector<KeysValues> out;
  for (size_t i = 0; i + 1 < parts.size(); i += 2)
    out.push_back({.keys = parts[i], .values = parts[i + 1]});
  return out;
}

std::unique_ptr<Adapter> VirtualTokenAdapter::embedded(const TunerOptions& options,
                                                       std::string name, LearnedPrompt prompt) {
  std::unique_ptr<VirtualTokenAdapter> adapter(
      new VirtualTokenAdapter(options, std::move(name), std::move(prompt)));
  adapter->tuner_ = std::make_unique<EmbeddedPrompt>(adapter->prompt_);
  return adapter;
}

Result<std::unique_ptr<Adapter>> VirtualTokenAdapter::make_prompt_tuning(
    const TunerOptions& options, const AdapterRequest& request) {
  if (auto status = check_options(options); !status) return fail(status.error());
  const auto site = site_of(request.base);
  if (!site) return fail(site.error());
  auto own = options.as<PromptTuningOptions>();
  auto status = fit(own.tokens, request.base, (*site)->num_heads, (*site)->hidden_size);
  if (!status) return fail(status.error());
  const auto values = first_values(own, request);
  if (!values) return fail(values.error());
  name_tokenizer(own, request.base);
  if (!own.origin.base_model_name_or_path)
    own.origin.base_model_name_or_path = request.base.name_or_path();
  return embedded(own, request.name, LearnedPrompt(*values, place_of(request)));
}

Result<std::unique_ptr<Adapter>> VirtualTokenAdapter::make_p_tuning(const TunerOptions& options,
                                                                    const AdapterRequest& request) {
  if (auto status = check_options(options); !status) return fail(status.error());
  const auto site = site_of(request.base);
  if (!site) return fail(site.error());
  auto own = options.as<PTuningOptions>();
  auto status = fit(own.tokens, request.base, (*site)->num_heads, (*site)->hidden_size);
  if (!status) return fail(status.error());
  if (!own.encoder_hidden_size) own.encoder_hidden_size = own.tokens.token_dim;
  if (!own.origin.base_model_name_or_path)
    own.origin.base_model_name_or_path = request.base.name_or_path();
  const TunerPlace place = place_of(request);
  const auto tokens = random_tokens(own.tokens.num_virtual_tokens, *own.tokens.token_dim, place);
  return embedded(own, request.name,
                  LearnedPrompt(tokens, p_tuning_network(own, place), request.fresh, place));
}

Result<std::unique_ptr<Adapter>> VirtualTokenAdapter::make_prefix_tuning(
    const TunerOptions& options, const AdapterRequest& request) {
  if (auto status = check_options(options); !status) return fail(status.error());
  const auto site = site_of(request.base);
  if (!site) return fail(site.error());
  auto own = options.as<PrefixTuningOptions>();
  const int64_t heads = (*site)->num_key_value_heads, width = heads * (*site)->head_dim;
  if (auto status = fit(own.tokens, request.base, heads, width); !status)
    return fail(status.error());
  if (!own.encoder_hidden_size) own.encoder_hidden_size = own.tokens.token_dim;
  if (!own.origin.base_model_name_or_path)
    own.origin.base_model_name_or_path = request.base.name_or_path();
  std::unique_ptr<VirtualTokenAdapter> adapter(
      new VirtualTokenAdapter(own, request.name, first_prefix(own, request)));
  adapter->tuner_ =
      std::make_unique<KeyValuePrefix>(adapter->prompt_, *own.tokens.num_layers, heads);
  return adapter;
}

}  // namespace tunefleet::tuners
