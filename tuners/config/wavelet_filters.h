#pragma once

#include <string>
#include <string_view>
#include <vector>

/// Orthogonal wavelets by name: Daubechies db1 … db10, symlets sym2 … sym10, coiflets coif1 …
/// coif5.
namespace tunefleet::tuners {

/// The reconstruction filters of one wavelet, of equal, even length.
struct WaveletFilters {
  std::vector<double> low, high;
};

std::vector<std::string_view> wavelet_names();

/// Throws std::invalid_argument for an unknown name.
WaveletFilters wavelet_filters(std::string_view name);

}  // namespace tunefleet::tuners
