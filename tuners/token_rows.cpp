#include "tuners/token_rows.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/embedding.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/where.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <utility>

#include "tuners/config/target_match.h"
#include "tuners/initial_values.h"
#include "tuners/random.h"

namespace tunefleet::tuners {
namespace {

at::Tensor index_of(const std::vector<int64_t>& rows, at::Device device) {
  at::Tensor index = at::empty({static_cast<int64_t>(rows.size())}, at::kLong);
  std::copy(rows.begin(), rows.end(), index.mutable_data_ptr<int64_t>());
  return index.to(device);
}

bool names(const TrainedTokens& tokens, const std::string& path) {
  return tokens.module.empty() || path.ends_with(tokens.module);
}

Status check_rows(const TrainedTokens& tokens, const std::string& path, const at::Tensor& table) {
  for (const int64_t row : tokens.rows) {
    if (row < table.size(0)) continue;
    return fail(ErrorCode::kInvalidArgument,
                c10::str("trainable_token_indices names a token past the end of the table: ", row,
                         ", ", path, " has ", table.size(0)));
  }
  return {};
}

}  // namespace

TokenRows::TokenRows(const at::Tensor& table, const std::vector<int64_t>& rows)
    : rows_(index_of(rows, table.device())) {
  const at::NoGradGuard no_grad;
  const auto numbers = at::arange(rows_.size(0), rows_.options());
  place_of_ = at::full({table.size(0)}, -1, rows_.options()).index_copy_(0, rows_, numbers);
  values_ = table.detach().index_select(0, rows_).to(at::kFloat).set_requires_grad(true);
}

void TokenRows::draw(uint64_t seed, uint64_t stream) {
  const at::NoGradGuard no_grad;
  values_.copy_(normal_values(values_.sizes(), 1.0, RandomStream(seed, stream)));
}

at::Tensor TokenRows::places(const at::Tensor& ids) const { return place_of_.index_select(0, ids); }

void TokenRows::merge_into(LayerWeights& weights) const {
  weights.weight = weights.weight.index_copy(0, rows_, values_);
}

at::Tensor EmbeddingTokens::forward(const at::Tensor& ids, const TensorNext& next,
                                    const ForwardContext&) const {
  const auto y = next(ids);
  const auto places = rows_->places(ids);
  const auto trained = at::embedding(rows_->values().to(y.scalar_type()), places.clamp_min(0));
  return at::where(places.ge(0).unsqueeze(1), trained, y);
}

at::Tensor HeadTokens::forward(const at::Tensor& x, const LinearNext& next,
                               const ForwardContext&) const {
  const auto trained = x.matmul(rows_->values().to(x.scalar_type()).t());
  return next(x).index_copy(1, rows_->rows(), trained);
}

Status TokenParts::add(BaseModel& base, const TrainedTokens& tokens) {
  for (EmbeddingSite* site : base.embedding_sites()) {
    if (!names(tokens, site->path)) continue;
    if (auto status = check_rows(tokens, site->path, site->weight.base); !status) return status;
    auto rows = std::make_shared<TokenRows>(site->weight.base, tokens.rows);
    parts_.push_back({.module = site->path,
                      .rows = rows,
                      .embedding = site,
                      .at_embedding = std::make_unique<EmbeddingTokens>(rows)});
    return {};
  }
  for (LinearSite* site : base.linear_sites()) {
    if (tokens.module.empty() || !names(tokens, site->path)) continue;
    if (auto status = check_rows(tokens, site->path, site->weight.base); !status) return status;
    auto rows = std::make_shared<TokenRows>(site->weight.base, tokens.rows);
    parts_.push_back({.module = site->path,
                      .rows = rows,
                      .linear = site,
                      .at_linear = std::make_unique<HeadTokens>(rows)});
    return {};
  }
  std::vector<std::string> known{base.output_embedding()};
  for (const EmbeddingSite* site : base.embedding_sites()) known.push_back(site->path);
  return fail(ErrorCode::kInvalidArgument,
              c10::str("trainable_token_indices names a module that has no row for each token, the "
                       "model has [",
                       c10::Join(", ", known), "]: ", tokens.module));
}

/// Lets an output embedding on the same tensor follow the embedding's rows.
void TokenParts::tie(BaseModel& base) {
  const auto embedding = std::find_if(parts_.begin(), parts_.end(),
                                      [](const Part& part) { return part.embedding != nullptr; });
  if (embedding == parts_.end()) return;
  const auto own = std::find_if(parts_.begin(), parts_.end(),
                                [](const Part& part) { return part.embedding == nullptr; });
  for (LinearSite* site : base.linear_sites()) {
    if (site->path != base.output_embedding() ||
        !site->weight.base.is_alias_of(embedding->embedding->weight.base)) {
      continue;
    }
    if (own != parts_.end()) {
      if (!own->rows->rows().equal(embedding->rows->rows())) return;
      parts_.erase(own);
      return tie(base);
    }
    embedding->linear = site;
    embedding->at_linear = std::make_unique<HeadTokens>(embedding->rows);
  }
}

Result<TokenParts> TokenParts::make(BaseModel& base, const std::vector<TrainedTokens>& tokens) {
  TokenParts parts;
  for (const auto& each : tokens) {
    if (auto status = parts.add(base, each); !status) return fail(status.error());
  }
  parts.tie(base);
  return parts;
}

void TokenParts::draw(const std::string& adapter_name, uint64_t seed) {
  for (auto& part : parts_) {
    part.rows->draw(seed, stream_id(part.module + ".trainable_tokens_delta." + adapter_name));
  }
}

std::vector<std::string> TokenParts::modules() const {
  std::vector<std::string> paths;
  for (const auto& part : parts_) {
    if (part.embedding != nullptr) paths.push_back(part.embedding->path);
    if (part.linear != nullptr) paths.push_back(part.linear->path);
  }
  return paths;
}

std::vector<AdapterTensor> TokenParts::tensors(const std::string& adapter_name,
                                               const std::string& infix, bool with_copies) const {
  std::vector<AdapterTensor> tensors;
  const auto add = [&](const std::string& module, const TokenRows& rows, bool copy) {
    const std::string key = module + "." + infix + "trainable_tokens_delta";
    tensors.push_back({.key = key,
                       .path = key + "." + adapter_name,
                       .tensor = copy ? rows.values().detach() : rows.values(),
                       .swift_key = key + ".{}",
                       .trains = !copy,
                       .optional = copy,
                       .derived = copy});
  };
  for (const auto& part : parts_) {
    add(part.module, *part.rows, false);
    const bool tied = part.embedding != nullptr && part.linear != nullptr;
    if (tied && with_copies) add(part.linear->path, *part.rows, true);
  }
  return tensors;
}

std::vector<EmbeddingPart> TokenParts::embedding_tuners() const {
  std::vector<EmbeddingPart> tuners;
  for (const auto& part : parts_) {
    if (part.embedding != nullptr) tuners.push_back({part.embedding, part.at_embedding.get()});
  }
  return tuners;
}

std::vector<SiteTuner> TokenParts::linear_tuners() const {
  std::vector<SiteTuner> tuners;
  for (const auto& part : parts_) {
    if (part.linear != nullptr) tuners.push_back({part.linear, part.at_linear.get()});
  }
  return tuners;
}

}  // namespace tunefleet::tuners
