#include "tests/worker/models/tuner_laws.h"

#include <algorithm>
#include <map>

#include "tuners/config/full_options.h"
#include "tuners/full_adapter.h"
#include "tuners/peft_files.h"
#include "tuners/swift.h"
#include "tuners/swift_files.h"

namespace tunefleet::models {
namespace {

/// Written once in a run of the program.
const TinyModel& stored_decoder(const LawModel& model) {
  static std::map<std::string, std::unique_ptr<TinyModel>> models;
  auto& stored = models[model.name];
  if (!stored) stored = std::make_unique<TinyModel>(model.config, model.model_type);
  return *stored;
}

template <typename Network, auto... Arguments>
std::unique_ptr<tuners::SmallNetwork> make_network() {
  return std::make_unique<Network>(Arguments...);
}

at::Tensor some_input(const std::vector<int64_t>& shape) {
  at::manual_seed(31);
  return at::randn(shape);
}

/// Whether the case is tested on the model.
bool acts_on(const LawCase& law, const LawModel& model) {
  if (!law.network.empty()) return law.network == model.name;
  return model.is_decoder() && (law.families || model.model_type == "llama");
}

tuners::TunerOptions options_of(const std::string& tuner, const std::string& json) {
  const auto* schema = schema_of(tuner);
  if (schema == nullptr) throw std::logic_error("no such tuner: " + tuner);
  auto options = tuners::options_from_json(*schema, json, tuner);
  if (!options) throw std::runtime_error(options.error().message);
  return *options;
}

/// A training step's loss on `batch` with gradient checkpointing needs batch and context until its
/// backward pass is done.
const TokenBatch& loss_batch() {
  static const TokenBatch batch = law_batch();
  return batch;
}

const tuners::ForwardContext& loss_context() {
  static const tuners::ForwardContext context{
      .training = true,
      .seed = 42,
      .step = 0,
      .token_keys = at::arange(static_cast<int64_t>(loss_batch().input_ids.size()), at::kLong)};
  return context;
}

}  // namespace

const std::vector<LawModel>& law_models() {
  using namespace tuners;
  static const std::vector<OtherTuner> on_linear_layers{
      {"lora", R"({"r": 2, "target_modules": "all-linear"})"},
      {"ia3", R"({"target_modules": "all-linear", "feedforward_modules": []})"}};
  static const std::vector<LawModel> models{
      {.name = "float32"},
      {.name = "tied_biased", .config = R"("tie_word_embeddings": true, "attention_bias": true)"},
      {.name = "bfloat16", .dtype = at::kBFloat16},
      {.name = "qwen2", .model_type = "qwen2"},
      {.name = "qwen3", .model_type = "qwen3"},
      {.name = "mistral", .config = R"("sliding_window": 6)", .model_type = "mistral"},
      {.name = "token_net",
       .network = &make_network<TokenNet>,
       .input = {2, 5, 6},
       .others = on_linear_layers},
      {.name = "body_net",
       .network = &make_network<BodyNet>,
       .input = {3, 8},
       .others = on_linear_layers},
      {.name = "picture_net",
       .network = &make_network<PictureNet>,
       .input = {2, 3, 16, 16},
       .others = on_linear_layers},
      {.name = "stack_net",
       .network = &make_network<StackNet>,
       .input = {2, 5, 6},
       .others = on_linear_layers},
      {.name = "pyramid_net",
       .network = &make_network<PyramidNet, int64_t{8}>,
       .input = {2, 3, 8, 8},
       .others = {{"lora", R"({"r": 2, "target_modules": ["mid", "expand"]})"}}},
      {.name = "skip_net",
       .network = &make_network<SkipNet>,
       .input = {2, 3, 8, 8},
       .others = {{"lora", R"({"r": 2, "target_modules": ["mid", "conv_in"]})"}}}};
  return models;
}

TokenBatch law_batch() { return flat_batch({some_ids(8, 1), some_ids(4, 2), some_ids(12, 3)}); }

LawDirectory::LawDirectory() {
  std::string name = (std::filesystem::temp_directory_path() / "tunefleet-laws-XXXXXX").string();
  path_ = mkdtemp(name.data());
}

LawDirectory::~LawDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

const tuners::TunerSchema* schema_of(const std::string& tuner) {
  if (tuner == tuners::FullOptions::schema().name) return &tuners::FullOptions::schema();
  for (const auto& entry : tuners::builtin_tuners()) {
    if (entry.schema->name == tuner) return entry.schema;
  }
  return nullptr;
}

const tuners::TunerSchema& TunerLaws::schema() const { return *schema_of(law().tuner); }

tuners::TunerOptions TunerLaws::options() const { return options_of(law().tuner, law().options); }

std::vector<tuners::TunerOptions> TunerLaws::others() const {
  std::vector<tuners::TunerOptions> all;
  for (const auto& [tuner, json] : on().others) all.push_back(options_of(tuner, json));
  return all;
}

std::unique_ptr<tuners::BaseModel> TunerLaws::load() const {
  if (on().is_decoder()) return stored_decoder(on()).load(on().dtype);
  at::manual_seed(37);
  return on().network();
}

Tuned TunerLaws::plain() const {
  Tuned tuned{.base = load(), .swift = nullptr};
  tuned.swift = std::make_unique<tuners::SwiftModel>(*tuned.base);
  return tuned;
}

Status TunerLaws::attach(const Tuned& tuned, const std::string& name,
                         const tuners::TunerOptions& options) {
  const auto* full = options.get_if<tuners::FullOptions>();
  if (full == nullptr) return tuned.swift->add_adapter(name, options);
  auto adapter = tuners::FullAdapter::make(*full, {.base = *tuned.base, .name = name});
  if (!adapter) return fail(adapter.error());
  auto status = tuned.swift->add_adapter(*std::move(adapter));
  if (status) tuned.swift->before_step({.step = 0, .max_steps = 1, .seed = 42});
  return status;
}

void TunerLaws::add(const Tuned& tuned, const std::string& name,
                    const tuners::TunerOptions& options, double deviation) const {
  expect_ok(attach(tuned, name, options));
  randomise(tuned.adapter(name), deviation, name.size());
}

Tuned TunerLaws::fresh() const {
  Tuned tuned = plain();
  expect_ok(attach(tuned, "default", options()));
  return tuned;
}

Tuned TunerLaws::drawn() const {
  Tuned tuned = plain();
  add(tuned, "default", options(), law().deviation);
  return tuned;
}

at::Tensor TunerLaws::output(tuners::BaseModel& base) const {
  if (on().is_decoder()) return logits_of(dynamic_cast<Decoder&>(base), law_batch());
  const at::NoGradGuard no_grad;
  return dynamic_cast<tuners::SmallNetwork&>(base).forward(some_input(on().input));
}

at::Tensor TunerLaws::loss(const Tuned& tuned, const at::Tensor& checkpoint_anchor) const {
  at::Tensor total;
  if (on().is_decoder()) {
    total =
        tuned.decoder().loss(loss_batch(), loss_context(), 1.0 / 21.0, nullptr, checkpoint_anchor);
  } else {
    const auto output =
        dynamic_cast<tuners::SmallNetwork&>(*tuned.base).forward(some_input(on().input));
    total = output.mul(some_input(output.sizes().vec())).mean();
  }
  const auto regularization = tuned.swift->regularization();
  return regularization.defined() ? total + regularization : total;
}

std::vector<tuners::FileLayout> TunerLaws::layouts() const {
  std::vector<tuners::FileLayout> layouts;
  const bool in_peft = !schema().peft_type.empty();
  if (in_peft || !schema().swift_type.empty()) layouts.push_back(tuners::FileLayout::kSwift);
  if (in_peft) layouts.push_back(tuners::FileLayout::kPeft);
  return layouts;
}

void TunerLaws::save(const Tuned& tuned, tuners::FileLayout layout,
                     const std::filesystem::path& directory) {
  expect_ok(layout == tuners::FileLayout::kSwift ? tuners::save_swift(*tuned.swift, directory)
                                                 : tuners::save_peft(*tuned.swift, directory));
}

void TunerLaws::load_adapter(const Tuned& tuned, const std::filesystem::path& directory,
                             const std::string& name) {
  expect_ok(tuners::Swift::from_pretrained(*tuned.swift, directory, name));
}

std::vector<LawParam> law_params() {
  std::vector<LawParam> params;
  for (const auto& law : law_cases()) {
    if (schema_of(law.tuner) == nullptr) continue;  // a test of its own names it
    for (const auto& model : law_models()) {
      if (acts_on(law, model)) params.emplace_back(law, model);
    }
  }
  return params;
}

std::vector<LawParam> exact_law_params() {
  auto params = law_params();
  std::erase_if(params, [](const auto& param) { return std::get<1>(param).dtype != at::kFloat; });
  return params;
}

std::vector<LawParam> decoder_law_params() {
  auto params = law_params();
  std::erase_if(params, [](const auto& param) { return !std::get<1>(param).is_decoder(); });
  return params;
}

std::string law_name(const testing::TestParamInfo<LawParam>& info) {
  const auto& [law, model] = info.param;
  std::string name = law.tuner + (law.label.empty() ? "" : "_" + law.label) + "_on_" + model.name;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
  return name;
}

}  // namespace tunefleet::models
