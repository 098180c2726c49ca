#pragma once

#include <cstdint>
#include <vector>

namespace tunefleet::tuners {

/// Where the trained entries of a layer's spectrum [out, in] stand.
struct SpectrumPlaces {
  std::vector<int64_t> rows, cols;
};

/// The first `count` numbers of torch.randperm(out * in) from a CPU generator seeded with `seed`,
/// as PEFT draws them for FourierFT and WaveFT: files do not hold the places, so that every bit
/// counts. Takes some 10 ms for a million entries. Throws std::invalid_argument when there are not
/// so many.
SpectrumPlaces spectrum_places(int64_t out, int64_t in, int64_t count, int64_t seed);

}  // namespace tunefleet::tuners
