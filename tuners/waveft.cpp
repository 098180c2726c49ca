#include "tuners/waveft.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "tuners/config/resolve.h"
#include "tuners/config/target_match.h"
#include "tuners/config/waveft_options.h"
#include "tuners/config/wavelet_filters.h"
#include "tuners/initial_values.h"
#include "tuners/mapped_linear.h"
#include "tuners/saved_modules.h"
#include "tuners/maps/tiled_map.h"

namespace tunefleet::tuners {
namespace {

/// A wavelet transform of one level of vectors [., width], to their low and high bands, [., 2
/// half].
struct WaveletTransform {
  /// An empty name: no transform, the bands are the vector itself.
  WaveletTransform(const std::string& name, int64_t width, const at::Device& device);

  std::unique_ptr<TileBasis> basis() const {
    return matrix ? sparse_basis(matrix, values) : plain_basis(padded);
  }
  /// The adjoint for rows of a matrix, [N, 2 half] -> [N, width], differentiable.
  at::Tensor from_bands(const at::Tensor& bands) const {
    return matrix ? matrix->transposed_product(bands, values) : bands;
  }

  int64_t padded = 0;  ///< Of a spectrum's side before the transform: the bands' length.
  std::shared_ptr<const SparsePattern> matrix;  ///< [2 half, width]; null without a transform.
  at::Tensor values;
};

/// Coefficient i of a band reaches the places 2 i + l - start of the vector, l over its filter.
/// PEFT pads a spectrum by the filter's length less two (and to an even number), and cuts what the
/// filters add on both sides.
WaveletTransform::WaveletTransform(const std::string& name, int64_t width,
                                   const at::Device& device) {
  padded = width;
  if (name.empty()) return;
  const auto filters = wavelet_filters(name);
  const auto length = static_cast<int64_t>(filters.low.size());
  padded = (width + length - 2 + 1) / 2 * 2;
  const int64_t half = padded / 2;
  const int64_t cut = (2 * length - 3) / 2;
  const int64_t made = 2 * (half - 1) + length - 2 * cut;
  const int64_t start = cut + (made - width) / 2;
  std::vector<int64_t> entry_rows, entry_cols;
  std::vector<double> entries;
  for (int64_t band = 0; band < 2; ++band) {
    const auto& filter = band == 0 ? filters.low : filters.high;
    for (int64_t i = 0; i < half; ++i) {
      for (int64_t l = 0; l < length; ++l) {
        const int64_t place = 2 * i + l - start;
        if (place < 0 || place >= width) continue;
        entry_rows.push_back(band * half + i);
        entry_cols.push_back(place);
        entries.push_back(filter[static_cast<size_t>(l)]);
      }
    }
  }
  matrix = std::make_shared<SparsePattern>(padded, width, entry_rows, entry_cols, device);
  values = at::tensor(entries, at::kFloat).to(device);
}

/// S between the bands of outputs and inputs. PEFT takes the upper right quarter of its spectrum as
/// high for the rows and low for the columns, and the lower left one the other way.
std::shared_ptr<const SparsePattern> spectrum_pattern(int64_t out, int64_t in,
                                                      const SpectrumPlaces& places,
                                                      const WaveletTransform& rows,
                                                      const WaveletTransform& cols,
                                                      const at::Device& device) {
  const int64_t height = rows.padded, width = cols.padded;
  if (!rows.matrix) {
    return std::make_shared<SparsePattern>(height, width, places.rows, places.cols, device);
  }
  std::vector<int64_t> entry_rows, entry_cols;
  for (size_t k = 0; k < places.rows.size(); ++k) {
    const int64_t u = places.rows[k] + (height - out) / 2, v = places.cols[k] + (width - in) / 2;
    const bool lower = u >= height / 2, right = v >= width / 2;
    entry_rows.push_back(u % (height / 2) + (right ? height / 2 : 0));
    entry_cols.push_back(v % (width / 2) + (lower ? width / 2 : 0));
  }
  return std::make_shared<SparsePattern>(height, width, entry_rows, entry_cols, device);
}

}  // namespace

std::shared_ptr<const LinearMap> wavelet_map(int64_t out, int64_t in, const SpectrumPlaces& places,
                                             const std::string& wavelet, double scaling,
                                             const at::Device& device) {
  const WaveletTransform rows(wavelet, out, device), cols(wavelet, in, device);
  const auto spectrum = spectrum_pattern(out, in, places, rows, cols, device);
  return std::make_shared<TiledMap>(
      TiledMapParts{.in = cols.basis(),
                    .out = rows.basis(),
                    .core = sparse_core(spectrum),
                    .scale = scaling,
                    .dense = [=](const at::Tensor& values) {
                      const auto columns = cols.from_bands(spectrum->dense(values));
                      return rows.from_bands(columns.t()).t().mul(scaling);
                    }});
}

namespace {

/// How many coefficients the layers get.
class Shares {
 public:
  explicit Shares(const WaveftOptions& options) : options_(options) {}

  /// Shares the coefficients of all targets out by their sizes, at least one each.
  Status share_out(BaseModel& base) {
    const auto targets = match_targets(selection_of(options_), model_modules(base));
    if (!targets) return fail(targets.error());
    const std::unordered_set<std::string> chosen(targets->begin(), targets->end());
    double total = 0.0;
    for (const LinearSite* site : base.linear_sites()) {
      if (chosen.contains(site->path)) total += size_of(*site);
    }
    const double budget =
        static_cast<double>(options_.n_frequency) * static_cast<double>(targets->size());
    for (const LinearSite* site : base.linear_sites()) {
      if (!chosen.contains(site->path)) continue;
      const double share = std::nearbyint(size_of(*site) / total * budget);
      shares_[site->path] = std::max<int64_t>(1, static_cast<int64_t>(share));
    }
    return {};
  }

  int64_t count_of(const std::string& path) const {
    if (const auto share = shares_.find(path); share != shares_.end()) return share->second;
    const auto* own = find_pattern(options_.n_frequency_pattern, path);
    return own == nullptr ? options_.n_frequency : *own;
  }

 private:
  static double size_of(const LinearSite& site) {
    return static_cast<double>(site.in_features() * site.out_features());
  }

  WaveftOptions options_;
  std::map<std::string, int64_t> shares_;  ///< By path, with proportional_parameters.
};

}  // namespace

Result<std::unique_ptr<Adapter>> make_waveft(const TunerOptions& options,
                                             const AdapterRequest& request) {
  const auto& own = options.as<WaveftOptions>();
  Shares shares(own);
  if (own.proportional_parameters) {
    if (auto status = shares.share_out(request.base); !status) return fail(status.error());
  }
  SharedMaps maps;
  return LinearAdapter::make(
      options, request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        const int64_t count = shares.count_of(site.path);
        if (auto status = check_frequencies("waveft", site, count); !status)
          return fail(status.error());
        const at::NoGradGuard no_grad;
        const RandomStream stream(
            request.seed, stream_id(c10::str(site.path, ".waveft_spectrum.", request.name)));
        const auto make_map = [&] {
          const int64_t out = site.out_features(), in = site.in_features();
          return wavelet_map(out, in, spectrum_places(out, in, count, own.random_loc_seed),
                             own.use_idwt ? own.wavelet_family : "", own.scaling,
                             site.weight.base.device());
        };
        return std::make_unique<MappedLinear>(site, "waveft_spectrum",
                                              own.init_weights
                                                  ? at::zeros({count}, at::kFloat)
                                                  : normal_values({count}, 0.01, stream),
                                              maps.of(site, count, make_map));
      });
}

}  // namespace tunefleet::tuners
