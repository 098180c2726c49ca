#include "worker/collective/gradient_sync.h"

#include <ATen/ops/zeros.h>

#include <cmath>
#include <cstring>
#include <map>

#include "tuners/random.h"
#include "worker/kernels/flat_norm.h"

namespace tunefleet::collective {
void check_same_set(const tuners::TrainableSet& set, Group& group) {
  const auto fingerprints = group.all_gather(set.fingerprint());
  for (size_t rank = 0; rank < fingerprints.size(); ++rank) {
    TORCH_CHECK(fingerprints[rank] == fingerprints[0], "ranks train different sets: rank ", rank,
                " has fingerprint ", fingerprints[rank], ", rank 0 has ", fingerprints[0]);
  }
}

GradientSync::GradientSync(const tuners::TrainableSet& set, Group& group)
    : set_(set), group_(group) {
  check_same_set(set_, group_);
  std::map<at::ScalarType, int64_t> sizes;
  for (const auto& entry : set_.tensors) sizes[entry.tensor.scalar_type()] += entry.tensor.numel();
  std::map<at::ScalarType, at::Tensor> flats;
  std::map<at::ScalarType, int64_t> offsets;
  for (const auto& [type, size] : sizes) {
    flats[type] =
        at::zeros({size}, set_.tensors.front().tensor.options().dtype(type).requires_grad(false));
    flats_.push_back(flats[type]);
  }
  for (const auto& entry : set_.tensors) {
    const auto type = entry.tensor.scalar_type();
    const auto view =
        flats[type].narrow(0, offsets[type], entry.tensor.numel()).view(entry.tensor.sizes());
    offsets[type] += entry.tensor.numel();
    entry.tensor.mutable_grad() = view;
    views_.push_back(view);
  }
}

GradientSync::~GradientSync() {
  for (const auto& entry : set_.tensors) entry.tensor.mutable_grad().reset();
}

void GradientSync::zero() {
  for (auto& flat : flats_) flat.zero_();
}

void GradientSync::all_reduce() {
  for (size_t i = 0; i < views_.size(); ++i) {
    const auto& grad = set_.tensors[i].tensor.grad();
    TORCH_CHECK(grad.defined() && grad.const_data_ptr() == views_[i].const_data_ptr(),
                "the gradient left its buffer: ", set_.tensors[i].path);
  }
  for (auto& flat : flats_) group_.all_reduce_sum(flat);
}

double GradientSync::norm() const {
  double squares = 0.0;
  for (const auto& flat : flats_) {
    const double part = kernels::flat_norm(flat);
    squares += part * part;
  }
  return std::sqrt(squares);
}

void GradientSync::scale(double factor) {
  for (auto& flat : flats_) flat.mul_(factor);
}

int64_t GradientSync::bytes() const {
  int64_t bytes = 0;
  for (const auto& flat : flats_) bytes += static_cast<int64_t>(flat.nbytes());
  return bytes;
}

namespace {

uint64_t mixed_bytes(uint64_t digest, const at::Tensor& tensor) {
  const auto bytes = tensor.detach().cpu().contiguous();
  const auto* data = static_cast<const char*>(bytes.const_data_ptr());
  size_t left = bytes.nbytes();
  while (left > 0) {
    uint64_t word = 0;
    const size_t part = std::min(left, sizeof(word));
    std::memcpy(&word, data, part);
    digest = tuners::mix(digest ^ word);
    data += part;
    left -= part;
  }
  return digest;
}

}  // namespace

uint64_t bits_digest(const tuners::TrainableSet& set) {
  uint64_t digest = 0;
  for (const auto& entry : set.tensors) {
    if (!entry.int8) {
      digest = mixed_bytes(digest, entry.tensor);
      continue;
    }
    for (const auto& [name, part] : entry.int8->parts()) digest = mixed_bytes(digest, part);
  }
  return digest;
}

}  // namespace tunefleet::collective
