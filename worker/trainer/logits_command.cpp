#include "worker/trainer/logits_command.h"

#include <ATen/core/grad_mode.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "storage/safetensors.h"
#include "tuners/tensor_io.h"
#include "worker/trainer/device.h"
#include "worker/trainer/model_setup.h"

namespace tunefleet::trainer {
namespace {

Result<std::vector<std::vector<int32_t>>> read_rows(const std::filesystem::path& path,
                                                    int64_t vocabulary) {
  std::ifstream in(path);
  if (!in) return fail(ErrorCode::kNotFound, "cannot read: " + path.string());
  const auto rows = nlohmann::json::parse(in, nullptr, /*allow_exceptions=*/false);
  if (!rows.is_array() || rows.empty()) {
    return fail(ErrorCode::kInvalidArgument,
                "not a JSON list of rows of token ids: " + path.string());
  }
  std::vector<std::vector<int32_t>> out;
  for (const auto& row : rows) {
    if (!row.is_array() || row.empty()) {
      return fail(ErrorCode::kInvalidArgument, "not a row of token ids: " + path.string() +
                                                   ", row " + std::to_string(out.size()));
    }
    auto& ids = out.emplace_back();
    for (const auto& id : row) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= vocabulary) {
        return fail(ErrorCode::kInvalidArgument, "not a token id of this model: " + id.dump() +
                                                     ", " + path.string() + ", row " +
                                                     std::to_string(out.size() - 1));
      }
      ids.push_back(id.get<int32_t>());
    }
  }
  return out;
}

}  // namespace

Status write_logits(const LogitsRequest& request) {
  set_threads(1);
  const auto model = load_base(request.model, request.dtype, request.device, 0);
  if (!model) return fail(model.error());
  const auto rows = read_rows(request.tokens, (*model)->config().vocab_size);
  if (!rows) return fail(rows.error());
  const auto swift = attach_adapters(**model, request.adapter);
  if (!swift) return fail(swift.error());
  const at::NoGradGuard no_grad;
  const tuners::ForwardContext context;
  std::vector<at::Tensor> kept;
  std::vector<storage::TensorView> views;
  for (const auto& row : *rows) {
    const auto hidden = (*model)->hidden_states(models::single_sequence(row), context);
    kept.push_back((*model)->logits(hidden, context).to(at::kCPU, at::kFloat).contiguous());
    views.push_back(tuners::view_of("logits." + std::to_string(views.size()), kept.back()));
  }
  return storage::write_safetensors(request.output, views, {});
}

}  // namespace tunefleet::trainer
