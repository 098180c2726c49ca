#include "tuners/fourierft.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/fft_ifft2.h>
#include <ATen/ops/real.h>
#include <ATen/ops/zeros.h>
#include <c10/util/StringUtil.h>

#include <utility>
#include <vector>

#include "tuners/config/fourierft_options.h"
#include "tuners/config/target_match.h"
#include "tuners/initial_values.h"
#include "tuners/mapped_linear.h"
#include "tuners/maps/tiled_map.h"

namespace tunefleet::tuners {
namespace {

/// The spectrum of the real part of ifft2(S), twice: every entry and its mirror image.
std::shared_ptr<const SparsePattern> mirrored_pattern(const loops::TileFourier& out,
                                                      const loops::TileFourier& in,
                                                      const SpectrumPlaces& places,
                                                      const at::Device& device) {
  std::vector<int64_t> rows, cols, numbers;
  for (size_t k = 0; k < places.rows.size(); ++k) {
    const int64_t row = places.rows[k], col = places.cols[k];
    rows.push_back(out.place(row));
    cols.push_back(in.place(col));
    rows.push_back(out.place((out.size() - row) % out.size()));
    cols.push_back(in.place((in.size() - col) % in.size()));
    numbers.insert(numbers.end(), 2, static_cast<int64_t>(k));
  }
  return std::make_shared<SparsePattern>(out.size(), in.size(), rows, cols, device, numbers);
}

}  // namespace

std::shared_ptr<const LinearMap> fourier_map(int64_t out, int64_t in, const SpectrumPlaces& places,
                                             double scaling, const at::Device& device) {
  const loops::TileFourier of_out(out), of_in(in);
  const auto spectrum =
      std::make_shared<const SparsePattern>(out, in, places.rows, places.cols, device);
  return std::make_shared<TiledMap>(
      TiledMapParts{.in = fourier_basis(in, of_in, 1),
                    .out = fourier_basis(out, of_out, -1),
                    .core = sparse_core(mirrored_pattern(of_out, of_in, places, device)),
                    .scale = 0.5 * scaling / static_cast<double>(out * in),
                    .dense = [spectrum, scaling](const at::Tensor& values) {
                      return at::real(at::fft_ifft2(spectrum->dense(values))).mul(scaling);
                    }});
}

Result<std::unique_ptr<Adapter>> make_fourierft(const TunerOptions& options,
                                                const AdapterRequest& request) {
  const auto& own = options.as<FourierftOptions>();
  SharedMaps maps;
  return LinearAdapter::make(
      options, request, [&](const LinearSite& site) -> Result<std::unique_ptr<LinearLayerTuner>> {
        const auto* pattern = find_pattern(own.n_frequency_pattern, site.path);
        const int64_t count = pattern == nullptr ? own.n_frequency : *pattern;
        if (auto status = check_frequencies("fourierft", site, count); !status)
          return fail(status.error());
        const at::NoGradGuard no_grad;
        const RandomStream stream(
            request.seed, stream_id(c10::str(site.path, ".fourierft_spectrum.", request.name)));
        const auto make_map = [&] {
          const int64_t out = site.out_features(), in = site.in_features();
          return fourier_map(out, in, spectrum_places(out, in, count, own.random_loc_seed),
                             own.scaling, site.weight.base.device());
        };
        return std::make_unique<MappedLinear>(
            site, "fourierft_spectrum",
            own.init_weights ? at::zeros({count}, at::kFloat) : normal_values({count}, 1.0, stream),
            maps.of(site, count, make_map));
      });
}

}  // namespace tunefleet::tuners
