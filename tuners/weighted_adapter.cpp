#include "tuners/weighted_adapter.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_qr.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/quantile.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "tuners/config/lora_options.h"
#include "tuners/registry.h"
#include "tuners/task_arithmetic.h"
#include "tuners/weighted_options.h"

namespace tunefleet::tuners {
namespace {

Error bad(std::string message) { return {ErrorCode::kInvalidArgument, std::move(message)}; }

/// What one adapter has at one layer: A [r, in…], B [out, r…].
struct Source {
  at::Tensor a;
  at::Tensor b;
  double weight = 1.0;
  double scaling = 1.0;
  double factor() const { return weight * scaling; }
};
/// The factors of the result, or of one source, as they are in the adapter.
struct Factors {
  at::Tensor a;
  at::Tensor b;
};
/// By the layer's path, in module order of the first adapter that has it.
using Layers = std::map<std::string, std::vector<Source>>;

/// The path of the layer whose factor `key` names; "" when it is none.
std::string layer_of(const std::string& key, bool& is_b) {
  for (const std::string part : {".lora_A", ".lora_B", ".lora_embedding_A", ".lora_embedding_B"}) {
    const size_t at = key.rfind(part);
    if (at == std::string::npos) continue;
    const size_t end = at + part.size();
    if (end != key.size() && key.substr(end) != ".weight") continue;
    is_b = part.back() == 'B';
    return key.substr(0, at);
  }
  return "";
}

std::map<std::string, Factors> factors_of(const Adapter& adapter) {
  std::map<std::string, Factors> factors;
  for (const auto& entry : adapter.tensors()) {
    bool is_b = false;
    const std::string layer = layer_of(entry.key, is_b);
    if (!layer.empty()) (is_b ? factors[layer].b : factors[layer].a) = entry.tensor;
  }
  return factors;
}

int64_t largest_rank(const Adapter& adapter) {
  int64_t rank = 0;
  for (const auto& [layer, factors] : factors_of(adapter)) rank = std::max(rank, factors.a.size(0));
  return rank;
}

/// The parts of a combination_type's name.
struct Kind {
  bool cat = false;
  bool svd = false;
  TaskArithmetic tasks;
};

Result<Kind> kind_of(const Combination& how, size_t adapters) {
  const std::string type = adapters == 1 ? "linear" : how.combination_type;
  const auto& known = combination_types();
  if (std::find(known.begin(), known.end(), type) == known.end()) {
    return fail(
        bad(c10::str("no such combination_type, known are ", c10::Join(", ", known), ": ", type)));
  }
  if (how.majority_sign_method != "total" && how.majority_sign_method != "frequency") {
    return fail(
        bad(c10::str("majority_sign_method takes total, frequency: ", how.majority_sign_method)));
  }
  Kind kind{.cat = type == "cat", .svd = type.ends_with("svd"), .tasks = {}};
  kind.tasks.sign_by_frequency = how.majority_sign_method == "frequency";
  if (type == "cat" || type == "svd" || type == "linear") return kind;
  kind.tasks.method = kind.svd ? type.substr(0, type.size() - 4) : type;
  if (!how.density || *how.density < 0.0 || *how.density > 1.0) {
    return fail(bad(c10::str("this combination_type needs a density from 0 to 1: ", type)));
  }
  kind.tasks.density = *how.density;
  return kind;
}

Result<int64_t> rank_of_result(const Kind& kind, const std::vector<const Adapter*>& adapters,
                               const Combination& how) {
  std::vector<int64_t> ranks;
  for (const Adapter* adapter : adapters) ranks.push_back(largest_rank(*adapter));
  const int64_t largest = *std::max_element(ranks.begin(), ranks.end());
  if (kind.svd) {
    if (!how.svd_rank || *how.svd_rank >= 1) return how.svd_rank.value_or(largest);
    return fail(bad(c10::str("svd_rank is below 1: ", *how.svd_rank)));
  }
  if (kind.cat) {
    int64_t sum = 0;
    for (const int64_t rank : ranks) sum += rank;
    return sum;
  }
  if (std::set<int64_t>(ranks.begin(), ranks.end()).size() == 1) return largest;
  return fail(bad(c10::str("adapters of unequal rank can be combined by svd or cat only: ranks ",
                           c10::Join(", ", ranks))));
}

Layers layers_of(const std::vector<const Adapter*>& adapters, const std::vector<double>& weights) {
  Layers layers;
  for (size_t i = 0; i < adapters.size(); ++i) {
    const auto& options = adapters[i]->options().as<LoraOptions>();
    for (const auto& [path, factors] : factors_of(*adapters[i])) {
      layers[path].push_back({.a = factors.a.to(at::kFloat),
                              .b = factors.b.to(at::kFloat),
                              .weight = weights[i],
                              .scaling = scaling_of(options, path)});
    }
  }
  return layers;
}

Factors stacked(const std::vector<Source>& sources) {
  std::vector<at::Tensor> a, b;
  for (const auto& source : sources) {
    a.push_back(source.a.mul(source.factor()));
    b.push_back(source.b);
  }
  return {.a = at::cat(a, 0), .b = at::cat(b, 1)};
}

/// The first `rank` singular triplets of a matrix, U scaled by S.
Factors truncated(const at::Tensor& u, const at::Tensor& s, const at::Tensor& vh, int64_t rank) {
  const int64_t k = std::min(rank, s.size(0));
  return {.a = vh.narrow(0, 0, k).contiguous(), .b = u.narrow(1, 0, k).mul(s.narrow(0, 0, k))};
}

/// The SVD of B A through QR of both: R x R instead of out x in.
Factors svd_of_product(const Factors& product, int64_t rank) {
  const auto [qb, rb] = at::linalg_qr(product.b);
  const auto [qa, ra] = at::linalg_qr(product.a.t());
  const auto [u, s, vh] = at::linalg_svd(rb.matmul(ra.t()), /*full_matrices=*/false);
  return truncated(qb.matmul(u), s, vh.matmul(qa.t()), rank);
}

Factors clamped(const Factors& factors, double quantile) {
  const at::Tensor all = at::cat({factors.b.flatten(), factors.a.flatten()});
  const double high = at::quantile(all, quantile).item<double>();
  return {.a = factors.a.clamp(-high, high), .b = factors.b.clamp(-high, high)};
}

Factors combined_by_svd(const std::vector<Source>& sources, const Kind& kind, int64_t rank,
                        const Combination& how, RandomStream stream) {
  if (kind.tasks.method == "linear" && !how.svd_clamp) {
    return svd_of_product(stacked(sources), rank);
  }
  std::vector<at::Tensor> deltas;
  std::vector<double> weights;
  for (const auto& source : sources) {
    // Signs are elected by the scaled updates, before they are weighted.
    deltas.push_back(source.b.matmul(source.a).mul(source.scaling));
    weights.push_back(source.weight);
  }
  const at::Tensor delta = combine_tasks(kind.tasks, deltas, weights, stream);
  const auto [u, s, vh] = at::linalg_svd(delta, /*full_matrices=*/false);
  const Factors factors = truncated(u, s, vh, rank);
  return how.svd_clamp ? clamped(factors, *how.svd_clamp) : factors;
}

Factors combined_factors(const std::vector<Source>& sources, const Kind& kind,
                         RandomStream stream) {
  std::vector<at::Tensor> a, b;
  std::vector<double> a_weights, b_weights;
  for (const auto& source : sources) {
    a.push_back(source.a);
    b.push_back(source.b);
    // The sign goes to one side only, or the two would cancel it.
    b_weights.push_back(std::sqrt(std::abs(source.factor())));
    a_weights.push_back(source.factor() < 0 ? -b_weights.back() : b_weights.back());
  }
  return {.a = combine_tasks(kind.tasks, a, a_weights, RandomStream(stream.next(), 0)),
          .b = combine_tasks(kind.tasks, b, b_weights, RandomStream(stream.next(), 1))};
}

/// Convolutions' factors as matrices.
std::vector<Source> flattened(std::vector<Source> sources) {
  for (auto& source : sources) {
    source.a = source.a.flatten(1);
    source.b = source.b.flatten(1);
  }
  return sources;
}

/// Sets a factor, with zeros where the result has more rank than this layer needs.
void set_factor(const at::Tensor& value, int64_t rank_dim, at::Tensor target) {
  target.zero_();
  auto matrix = target.view({target.size(0), -1});
  matrix.narrow(rank_dim, 0, value.size(rank_dim)).copy_(value);
}

void fill_factors(const Adapter& result, const Layers& layers, const Kind& kind, int64_t rank,
                  const Combination& how) {
  for (const auto& [path, target] : factors_of(result)) {
    const auto sources = flattened(layers.at(path));
    const RandomStream stream(how.seed, stream_id(path + ".combine"));
    const Factors factors = kind.cat   ? stacked(sources)
                            : kind.svd ? combined_by_svd(sources, kind, rank, how, stream)
                                       : combined_factors(sources, kind, stream);
    set_factor(factors.a, 0, target.a);
    set_factor(factors.b, 1, target.b);
  }
}

/// Copies what the adapters train in full. kInvalidArgument for what the result has no place for.
Status fill_the_rest(const Adapter& result, const std::vector<const Adapter*>& adapters) {
  std::map<std::string, std::pair<const Adapter*, at::Tensor>> found;
  for (const Adapter* adapter : adapters) {
    for (const auto& entry : adapter->tensors()) {
      bool is_b = false;
      if (!layer_of(entry.key, is_b).empty()) continue;
      const auto [place, is_new] = found.emplace(entry.key, std::pair{adapter, entry.tensor});
      if (is_new) continue;
      return fail(
          bad(c10::str("two of the adapters train the same parameter in full, they cannot "
                       "be combined: ",
                       place->second.first->name(), " and ", adapter->name(), ", ", entry.key)));
    }
  }
  for (auto& entry : result.tensors()) {
    const auto source = found.find(entry.key);
    if (source == found.end()) continue;
    entry.tensor.copy_(source->second.second);
    found.erase(source);
  }
  if (found.empty()) return {};
  return fail(
      bad(c10::str("what an adapter trains beside its updates has no place in the "
                   "combination: ",
                   found.begin()->second.first->name(), ", ", found.begin()->first)));
}

/// An adapter with these options and an update at just these layers. What the sources' lists and
/// patterns leave together need not be what each of them had: the layers are then named one by one.
Result<std::unique_ptr<Adapter>> adapter_at(const Layers& layers, LoraOptions options,
                                            const AdapterRequest& request) {
  const auto has_just_them = [&](const Adapter& adapter) {
    const auto factors = factors_of(adapter);
    return std::equal(factors.begin(), factors.end(), layers.begin(), layers.end(),
                      [](const auto& a, const auto& b) { return a.first == b.first; });
  };
  auto result = make_adapter(options, request);
  if (!result || has_just_them(**result)) return result;
  options.target_modules = {};
  options.exclude_modules = {};
  for (const auto& [path, sources] : layers) options.target_modules.names.push_back(path);
  result = make_adapter(options, request);
  if (!result || has_just_them(**result)) return result;
  const auto placed = factors_of(**result);
  const auto lost = std::find_if(layers.begin(), layers.end(),
                                 [&](const auto& each) { return !placed.contains(each.first); });
  return fail(
      bad(c10::str("one adapter updates a module that another trains in full, they cannot be "
                   "combined: ",
                   lost == layers.end() ? "" : lost->first)));
}

}  // namespace

const std::vector<std::string>& combination_types() {
  static const std::vector<std::string> types{"svd",
                                              "linear",
                                              "cat",
                                              "ties",
                                              "ties_svd",
                                              "dare_ties",
                                              "dare_linear",
                                              "dare_ties_svd",
                                              "dare_linear_svd",
                                              "magnitude_prune",
                                              "magnitude_prune_svd"};
  return types;
}

Result<std::unique_ptr<Adapter>> combine_lora(BaseModel& base,
                                              const std::vector<const Adapter*>& adapters,
                                              const std::vector<double>& weights,
                                              const std::string& name, const Combination& how) {
  if (auto status = check_combinable(adapters, weights, how); !status) return fail(status.error());
  const auto kind = kind_of(how, adapters.size());
  if (!kind) return fail(kind.error());
  const auto rank = rank_of_result(*kind, adapters, how);
  if (!rank) return fail(rank.error());
  const auto options = combined_options(adapters, *rank);
  if (!options) return fail(options.error());
  const auto layers = layers_of(adapters, weights);
  auto result =
      adapter_at(layers, *options, {.base = base, .name = name, .seed = how.seed, .fresh = false});
  if (!result) return result;
  const at::NoGradGuard no_grad;
  fill_factors(**result, layers, *kind, *rank, how);
  if (auto status = fill_the_rest(**result, adapters); !status) return fail(status.error());
  return result;
}

}  // namespace tunefleet::tuners
