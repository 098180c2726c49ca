// Our side of tests/oracle/peft_tuners.py:
//
//   tuner_values_tool MODEL_DIR ADAPTER_DIR OUT_DIR --ids FILE [--steps N] [--lr X] [--epsilon X]
//
// loads a Hugging Face model in float32 and a stored adapter (either layout), and writes the
// trained adapter to OUT_DIR/peft and OUT_DIR/swift, and to OUT_DIR/values.safetensors:
//
//   logits, disabled_logits, merged_logits   [N, V], evaluation; merged where the tuner merges
//   loss, grad.<key>                         mean next-token cross-entropy over all rows, training
//   step_losses [N], step.<key>, final_logits   of N steps of AdamW (0.9, 0.999, no decay)
//
// FILE is a JSON list of lists of token ids.
//
//   tuner_values_tool --make PEFT_TYPE OPTIONS_JSON MODEL_DIR OUT_DIR
//
// makes an adapter with our own initial values and saves it in PEFT's layout.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/optim/adamw.h>

#include <fstream>
#include <iostream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "storage/safetensors.h"
#include "tuners/config/tuner_list.h"
#include "tuners/peft_files.h"
#include "tuners/swift.h"
#include "tuners/swift_files.h"
#include "tuners/tensor_io.h"
#include "worker/models/decoder.h"

namespace tunefleet {
namespace {

constexpr uint64_t kSeed = 42;

struct Request {
  std::string model, adapter, output, ids;
  int steps = 3;
  double lr = 1e-3;
  double epsilon = 1e-6;
};

using Tensors = std::map<std::string, at::Tensor>;

Result<std::vector<std::vector<int32_t>>> read_rows(const std::string& file) {
  std::ifstream in(file);
  const auto json = nlohmann::json::parse(in, nullptr, false);
  if (!json.is_array()) {
    return fail(ErrorCode::kInvalidArgument, "not a JSON list of lists of token ids: " + file);
  }
  return json.get<std::vector<std::vector<int32_t>>>();
}

/// All rows flat, every token a label, and how many tokens are predicted.
struct Batch {
  models::TokenBatch tokens;
  at::Tensor keys;  ///< int64 [N]: row << 32 | position.
  int64_t targets = 0;
};

Batch flat(const std::vector<std::vector<int32_t>>& rows) {
  Batch batch;
  batch.tokens.boundaries = {0};
  std::vector<int64_t> keys;
  for (size_t row = 0; row < rows.size(); ++row) {
    for (size_t t = 0; t < rows[row].size(); ++t) {
      batch.tokens.input_ids.push_back(rows[row][t]);
      batch.tokens.positions.push_back(static_cast<int32_t>(t));
      keys.push_back((static_cast<int64_t>(row) << 32) + static_cast<int64_t>(t));
    }
    batch.tokens.boundaries.push_back(static_cast<int32_t>(batch.tokens.input_ids.size()));
    batch.targets += static_cast<int64_t>(rows[row].size()) - 1;
  }
  batch.tokens.labels = batch.tokens.input_ids;
  batch.keys = at::tensor(keys, at::kLong);
  return batch;
}

/// One adapter on one model: what the oracle wants to know of it.
class Values {
 public:
  Values(const models::Decoder& model, tuners::SwiftModel& swift, Batch batch)
      : model_(model), swift_(swift), batch_(std::move(batch)) {}

  /// Everything at the adapter's stored values.
  Status measure(Tensors& out) {
    out["logits"] = logits();
    const auto active = swift_.active_adapters();
    if (auto status = swift_.set_active_adapters({}); !status) return status;
    out["disabled_logits"] = logits();
    if (auto status = swift_.set_active_adapters(active); !status) return status;
    if (adapter().can_merge()) {
      if (auto status = swift_.merge(); !status) return status;
      out["merged_logits"] = logits();
      if (auto status = swift_.unmerge(); !status) return status;
    }
    const auto loss = training_loss(0);
    loss.backward();
    out["loss"] = loss.detach();
    for (const auto& each : adapter().tensors()) {
      if (each.trains && each.tensor.grad().defined())
        out["grad." + each.key] = each.tensor.grad().clone();
    }
    return {};
  }

  void train(const Request& request, Tensors& out) {
    std::vector<at::Tensor> trained;
    for (const auto& each : swift_.trainable_set().tensors) trained.push_back(each.tensor);
    torch::optim::AdamW optimizer(trained, torch::optim::AdamWOptions(request.lr)
                                               .betas({0.9, 0.999})
                                               .eps(request.epsilon)
                                               .weight_decay(0));
    std::vector<float> losses;
    for (int step = 0; step < request.steps; ++step) {
      const tuners::StepInfo info{.step = step, .max_steps = request.steps, .seed = kSeed};
      swift_.before_step(info);
      optimizer.zero_grad();
      const auto loss = training_loss(step);
      loss.backward();
      swift_.after_backward(info);
      optimizer.step();
      swift_.after_step(info);
      losses.push_back(loss.item<float>());
    }
    out["step_losses"] = at::tensor(losses);
    for (const auto& each : adapter().tensors()) {
      if (each.trains && each.tensor.requires_grad())
        out["step." + each.key] = each.tensor.detach().clone();
    }
    out["final_logits"] = logits();
  }

 private:
  const tuners::Adapter& adapter() const {
    return *swift_.find_adapter(swift_.adapter_names().front());
  }

  at::Tensor logits() const {
    const at::NoGradGuard no_grad;
    const tuners::ForwardContext context;
    return model_.logits(model_.hidden_states(batch_.tokens, context), context).contiguous();
  }

  at::Tensor training_loss(int64_t step) const {
    const tuners::ForwardContext context{
        .training = true, .seed = kSeed, .step = step, .token_keys = batch_.keys};
    kernels::CrossEntropySums sums;
    // A prompt's last virtual token predicts too: the rows are counted by the loss.
    const auto sum = model_.loss(batch_.tokens, context, 1.0, &sums);
    const auto loss = sum / static_cast<double>(sums.rows);
    const auto regularization = swift_.regularization();
    return regularization.defined() ? loss + regularization : loss;
  }

  const models::Decoder& model_;
  tuners::SwiftModel& swift_;
  Batch batch_;
};

Status write_tensors(const std::string& file, const Tensors& tensors) {
  std::vector<storage::TensorView> views;
  Tensors held;
  for (const auto& [name, tensor] : tensors) {
    held[name] = tensor.contiguous();
    views.push_back(tuners::view_of(name, held[name]));
  }
  return storage::write_safetensors(file, views, {{"format", "pt"}});
}

Status values(const Request& request) {
  const auto rows = read_rows(request.ids);
  if (!rows) return fail(rows.error());
  const auto model = models::Decoder::load(request.model, {.dtype = at::kFloat});
  if (!model) return fail(model.error());
  const auto swift = tuners::Swift::from_pretrained(**model, request.adapter);
  if (!swift) return fail(swift.error());
  Tensors out;
  Values measured(**model, **swift, flat(*rows));
  if (auto status = measured.measure(out); !status) return status;
  measured.train(request, out);
  if (auto status = tuners::save_peft(**swift, request.output + "/peft"); !status) return status;
  if (auto status = tuners::save_swift(**swift, request.output + "/swift"); !status) return status;
  return write_tensors(request.output + "/values.safetensors", out);
}

Status make(const std::string& type, const std::string& options, const std::string& model_directory,
            const std::string& output) {
  auto config = nlohmann::json::parse(options);
  config["peft_type"] = type;
  const auto schema =
      tuners::find_tuner_schema(tuners::AdapterKind{.peft_type = type, .swift_type = {}});
  if (!schema) return fail(schema.error());
  const auto read = tuners::read_options(**schema, config.dump(), "OPTIONS_JSON");
  if (!read) return fail(read.error());
  const auto model = models::Decoder::load(model_directory, {.dtype = at::kFloat});
  if (!model) return fail(model.error());
  const auto swift = tuners::Swift::prepare_model(**model, read->options, kSeed);
  if (!swift) return fail(swift.error());
  return tuners::save_peft(**swift, output);
}

Status run(const std::vector<std::string>& args) {
  if (args.size() == 5 && args[0] == "--make") return make(args[1], args[2], args[3], args[4]);
  if (args.size() >= 5 && args.size() % 2 == 1) {
    Request request{.model = args[0], .adapter = args[1], .output = args[2], .ids = {}};
    for (size_t i = 3; i < args.size(); i += 2) {
      if (args[i] == "--ids") request.ids = args[i + 1];
      if (args[i] == "--steps") request.steps = std::stoi(args[i + 1]);
      if (args[i] == "--lr") request.lr = std::stod(args[i + 1]);
      if (args[i] == "--epsilon") request.epsilon = std::stod(args[i + 1]);
    }
    return values(request);
  }
  return fail(ErrorCode::kInvalidArgument,
              "usage: tuner_values_tool MODEL_DIR ADAPTER_DIR OUT_DIR --ids FILE [--steps N] [--lr "
              "X] [--epsilon X] | "
              "--make PEFT_TYPE OPTIONS_JSON MODEL_DIR OUT_DIR");
}

}  // namespace
}  // namespace tunefleet

int main(int argc, char** argv) {
  const auto status = tunefleet::run({argv + 1, argv + argc});
  if (status) return 0;
  std::cerr << status.error().message << "\n";
  return 1;
}
