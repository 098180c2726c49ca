#include "worker/trainer/make_optimizer.h"

#include <c10/util/StringUtil.h>
#include <malloc.h>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

#include "tuners/config/full_options.h"
#include "worker/trainer/adamw.h"
#include "worker/trainer/galore.h"

namespace tunefleet::trainer {
namespace {

GaloreOptions galore_options(const JobSpec& spec) {
  return {.rank = spec.galore_rank,
          .update_proj_gap = spec.galore_update_proj_gap,
          .scale = spec.galore_scale,
          .proj_type = spec.galore_proj_type,
          .svd = spec.galore_svd,
          .seed = static_cast<uint64_t>(spec.seed),
          .quantization = spec.galore_quantization,
          .proj_quant = spec.galore_proj_quant,
          .proj_bits = spec.galore_proj_bits,
          .proj_group_size = spec.galore_proj_group_size,
          .cos_threshold = spec.galore_cos_threshold,
          .gamma_proj = spec.galore_gamma_proj,
          .queue_size = spec.galore_queue_size};
}

RuleKind rule_kind(const JobSpec& spec) {
  if (spec.optim == "adafactor") return RuleKind::kAdafactor;
  return spec.galore_quantization ? RuleKind::kAdam8Bit : RuleKind::kAdam;
}

/// The weights that GaLore projects: of linear layers and embeddings that it targets.
std::set<std::string> projected_paths(const tuners::SwiftModel& model, const JobSpec& spec) {
  if (!spec.use_galore) return {};
  const auto& targets = spec.galore_target_modules;
  std::set<std::string> wanted;
  for (const auto* site : model.base().linear_sites()) {
    if (tuners::is_galore_target(targets, site->path)) wanted.insert(site->weight.path);
  }
  for (const auto* site : model.base().embedding_sites()) {
    const bool chosen = targets.empty() ? spec.galore_with_embedding
                                        : tuners::is_galore_target(targets, site->path);
    if (chosen) wanted.insert(site->weight.path);
  }
  std::set<std::string> paths;
  for (const auto& entry : model.trainable_set().tensors) {
    if (wanted.contains(entry.path)) paths.insert(entry.path);
  }
  if (!paths.empty()) return paths;
  throw std::invalid_argument("galore_target_modules name no module whose weight trains: " +
                              c10::str(c10::Join(", ", targets)));
}

/// Adafactor works a tensor at a time on what it forms anew, and leaves a gap of each tensor's size
/// between what it keeps, and glibc before 2.38 takes an aligned block from no gap of just its
/// size: the gaps would add up to a float32 copy of the model and more. Blocks from here on go back
/// to the system.
void return_large_blocks() {
#ifdef M_MMAP_THRESHOLD
  constexpr int kLarge = 1 << 20;  // bytes
  mallopt(M_MMAP_THRESHOLD, kLarge);
#endif
}

}  // namespace

std::vector<OptimizerGroup> optimizer_groups(const tuners::SwiftModel& model, const JobSpec& spec) {
  std::vector<OptimizerGroup> groups;
  for (auto& group : model.create_optimizer_param_groups(spec.learning_rate, spec.weight_decay)) {
    groups.push_back({.tensors = std::move(group.tensors),
                      .lr_scale = group.lr / spec.learning_rate,
                      .weight_decay = group.weight_decay});
  }
  return groups;
}

std::unique_ptr<Optimizer> make_optimizer(const tuners::SwiftModel& model, const JobSpec& spec) {
  const auto groups = optimizer_groups(model, spec);
  if (!spec.use_galore && spec.optim != "adafactor") {
    return std::make_unique<AdamW>(
        groups, AdamWOptions{spec.adam_beta1, spec.adam_beta2, spec.adam_epsilon});
  }
  if (spec.optim == "adafactor") return_large_blocks();
  auto paths = projected_paths(model, spec);
  return std::make_unique<Galore>(
      groups, Galore::Options{
                  .rule = {rule_kind(spec), spec.adam_beta1, spec.adam_beta2, spec.adam_epsilon},
                  .galore = galore_options(spec),
                  .is_projected = [paths = std::move(paths)](const std::string& path) {
                    return paths.contains(path);
                  }});
}

}  // namespace tunefleet::trainer
