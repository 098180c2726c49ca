#include "tuners/config/linear_count.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "tuners/config/adalora_options.h"
#include "tuners/config/boft_options.h"
#include "tuners/config/c3a_options.h"
#include "tuners/config/fourierft_options.h"
#include "tuners/config/hira_options.h"
#include "tuners/config/hra_options.h"
#include "tuners/config/ia3_options.h"
#include "tuners/config/loha_options.h"
#include "tuners/config/lokr_options.h"
#include "tuners/config/lora_options.h"
#include "tuners/config/miss_options.h"
#include "tuners/config/oft_options.h"
#include "tuners/config/randlora_options.h"
#include "tuners/config/rank_limit.h"
#include "tuners/config/road_options.h"
#include "tuners/config/shira_options.h"
#include "tuners/config/target_match.h"
#include "tuners/config/vblora_options.h"
#include "tuners/config/vera_options.h"
#include "tuners/config/waveft_options.h"

namespace tunefleet::tuners {
namespace {

using Layers = std::vector<LinearShape>;
using Count = Result<int64_t>;

tl::unexpected<Error> misfit(std::string_view key, int64_t value, const LinearShape& layer) {
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("{} does not fit the layer: {}, {} is [{}, {}]", key, value, layer.path,
                          layer.out, layer.in));
}

Count at(const LoraOptions& options, const LinearShape& layer) {
  const int64_t outputs = (options.lora_bias ? 1 : 0) + (options.use_dora ? 1 : 0);
  return rank_of(options, layer.path) * (layer.in + layer.out) + outputs * layer.out;
}

/// A, B and one value for each triplet.
Count at(const AdaloraOptions& options, const LinearShape& layer) {
  return options.init_r * (layer.in + layer.out + 1);
}

Count at(const Ia3Options& options, const LinearShape& layer) {
  const auto inner = is_feedforward(options, layer.path);
  if (!inner) return fail(inner.error());
  return *inner ? layer.in : layer.out;
}

Count at(const VeraOptions& options, const LinearShape& layer) { return options.r + layer.out; }

Count at(const LohaOptions& options, const LinearShape& layer) {
  return 2 * rank_of(options, layer.path) * (layer.in + layer.out);
}

/// Whole, or as two factors where those are smaller.
int64_t kronecker_part(int64_t rows, int64_t cols, int64_t r, bool may_split) {
  return may_split && 2 * r < std::max(rows, cols) ? r * (rows + cols) : rows * cols;
}

Count at(const LokrOptions& options, const LinearShape& layer) {
  const Factors out = factorization(layer.out, options.decompose_factor);
  const Factors in = factorization(layer.in, options.decompose_factor);
  const int64_t r = rank_of(options, layer.path);
  return kronecker_part(out.outer, in.outer, r, options.decompose_both) +
         kronecker_part(out.inner, in.inner, r, true);
}

Count at(const HiraOptions& options, const LinearShape& layer) {
  return rank_of(options, layer.path) * (layer.in + layer.out);
}

Count at(const HraOptions& options, const LinearShape& layer) {
  if (options.r > layer.in) return misfit("hra's r", options.r, layer);
  return options.r * layer.in;
}

Count at(const OftOptions& options, const LinearShape& layer) {
  const int64_t size = oft_block_size(options, layer.in);
  return (options.block_share ? 1 : layer.in / size) * (size * (size - 1) / 2);
}

Count at(const BoftOptions& options, const LinearShape& layer) {
  const auto blocks = boft_blocks(options, layer.in, layer.path);
  if (!blocks) return fail(blocks.error());
  return options.boft_n_butterfly_factor * blocks->count * blocks->size * blocks->size + layer.out;
}

Count at(const FourierftOptions& options, const LinearShape& layer) {
  const auto* own = find_pattern(options.n_frequency_pattern, layer.path);
  const int64_t count = own == nullptr ? options.n_frequency : *own;
  if (count > layer.in * layer.out) return misfit("fourierft's n_frequency", count, layer);
  return count;
}

Count at(const WaveftOptions& options, const LinearShape& layer) {
  const auto* own = find_pattern(options.n_frequency_pattern, layer.path);
  const int64_t count = own == nullptr ? options.n_frequency : *own;
  if (count > layer.in * layer.out) return misfit("waveft's n_frequency", count, layer);
  return count;
}

Count at(const C3aOptions& options, const LinearShape& layer) {
  const auto* own = find_pattern(options.block_size_pattern, layer.path);
  const int64_t b = own == nullptr ? options.block_size : *own;
  if (layer.in % b != 0 || layer.out % b != 0) return misfit("c3a's block_size", b, layer);
  return layer.out / b * layer.in;
}

/// `bat` has a block for each r outputs; `mini` one of mini_r columns.
Count blocks(const LinearShape& layer, int64_t r, const std::string& init, int64_t mini_r) {
  if (r > layer.in) return misfit("r", r, layer);
  if (init == "bat") {
    if (layer.in % r != 0 || layer.out % r != 0) return misfit("r with bat", r, layer);
    return layer.out / r * r * r;
  }
  if (init != "mini") return r * layer.out;
  if (layer.out % mini_r != 0) return misfit("mini_r", mini_r, layer);
  return r * mini_r;
}

Count at(const MissOptions& options, const LinearShape& layer) {
  return blocks(layer, options.r, options.init_weights, options.mini_r);
}

Count at(const BoneOptions& options, const LinearShape& layer) {
  return blocks(layer, options.r, options.init_weights, 1);
}

Count at(const ShiraOptions& options, const LinearShape& layer) {
  return options.r * (layer.in + layer.out);
}

Count at(const RandloraOptions& options, const LinearShape& layer) {
  const auto [narrow, wide] = std::minmax(layer.in, layer.out);
  const int64_t bases = (narrow + options.r - 1) / options.r;
  return bases * (options.r + narrow);
}

/// An angle and a length for each of `size` pairs' places.
Count at(const RoadOptions& options, const LinearShape& layer) {
  const int64_t size = options.variant == "road_1"   ? layer.out / 2
                       : options.variant == "road_2" ? layer.out
                                                     : 2 * layer.out;
  return 2 * size;
}

Count at(const VbloraOptions& options, const LinearShape& layer) {
  const int64_t length = options.vector_length;
  if (layer.in % length != 0 || layer.out % length != 0)
    return misfit("vblora's vector_length", length, layer);
  return options.r * (layer.in / length + layer.out / length) * options.num_vectors;
}

/// What all layers share.
template <typename T>
int64_t shared(const T&) {
  return 0;
}
int64_t shared(const VbloraOptions& options) { return options.num_vectors * options.vector_length; }

/// n_frequency shared out by the layers' sizes.
int64_t proportional(const WaveftOptions& options, const Layers& layers) {
  const auto size = [](const LinearShape& layer) {
    return static_cast<double>(layer.in * layer.out);
  };
  double total = 0.0;
  for (const auto& layer : layers) total += size(layer);
  const double budget =
      static_cast<double>(options.n_frequency) * static_cast<double>(layers.size());
  int64_t count = 0;
  for (const auto& layer : layers) {
    const double share = std::nearbyint(size(layer) / total * budget);
    count += std::max<int64_t>(1, static_cast<int64_t>(share));
  }
  return count;
}

template <typename T>
Count sum(const T& options, const Layers& layers) {
  int64_t count = shared(options);
  for (const auto& layer : layers) {
    const Count own = at(options, layer);
    if (!own) return own;
    count += *own;
  }
  return count;
}

/// Runs `use` with the options as their own type; false for a tuner that is not among these.
template <typename Use, typename... Types>
bool visit(const TunerOptions& options, Use&& use) {
  const auto one = [&]<typename T>(const T* own) {
    if (own != nullptr) use(*own);
    return own != nullptr;
  };
  return (one(options.get_if<Types>()) || ...);
}

template <typename Use>
bool visit_linear(const TunerOptions& options, Use&& use) {
  return visit<Use, LoraOptions, AdaloraOptions, Ia3Options, VeraOptions, LohaOptions, LokrOptions,
               HiraOptions, HraOptions, OftOptions, BoftOptions, FourierftOptions, WaveftOptions,
               C3aOptions, MissOptions, BoneOptions, ShiraOptions, RandloraOptions, RoadOptions,
               VbloraOptions>(options, std::forward<Use>(use));
}

}  // namespace

std::vector<LinearShape> linear_layers(const std::vector<std::string>& targets,
                                       const ModelShapes& model) {
  Layers layers;
  for (const auto& path : targets) {
    const auto& linear = model.modules.linear;
    if (std::ranges::find(linear, path) == linear.end()) continue;
    const auto& shape = model.find(path + ".weight")->shape;
    layers.push_back({.path = path, .in = shape[1], .out = shape[0]});
  }
  return layers;
}

bool counts_linear(const TunerOptions& options) {
  return visit_linear(options, [](const auto&) {});
}

Result<std::optional<int64_t>> count_linear(const TunerOptions& options, const Layers& layers) {
  for (const auto& layer : layers) {
    if (auto status = check_rank(options, layer.path, layer.out, layer.in); !status)
      return fail(status.error());
  }
  Result<int64_t> count = 0;
  if (!visit_linear(options, [&](const auto& own) { count = sum(own, layers); }))
    return std::optional<int64_t>();
  if (!count) return fail(count.error());
  const auto* waveft = options.get_if<WaveftOptions>();
  if (waveft != nullptr && waveft->proportional_parameters) return proportional(*waveft, layers);
  return *count;
}

}  // namespace tunefleet::tuners
