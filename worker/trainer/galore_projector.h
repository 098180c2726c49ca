#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <variant>

#include "tuners/quantization/group_quantization.h"
#include "worker/trainer/optimizer.h"
#include "worker/trainer/saved_state.h"
#include "worker/trainer/update_rule.h"

namespace tunefleet::trainer {

/// Field names are the job's, without `galore_`.
struct GaloreOptions {
  int64_t rank = 128;
  int64_t update_proj_gap = 50;   ///< Steps between two subspaces.
  double scale = 1.0;             ///< Of what is projected back.
  std::string proj_type = "std";  ///< std | reverse_std | left | right | full
  std::string svd = "exact";      ///< exact | randomized
  uint64_t seed = 0;              ///< Of the randomized search.

  bool quantization = false;  ///< Q-GaLore: the gap grows while the subspace stays.
  bool proj_quant = false;    ///< Keep the subspace's basis in few bits.
  int64_t proj_bits = 4;
  int64_t proj_group_size = 256;
  double cos_threshold = 0.4;
  double gamma_proj = 2.0;
  int64_t queue_size = 5;
};

/// The low-rank subspace in which one matrix's gradients are followed. For a gradient G [m, n]:
///   right  G P^T [m, r], P [r, n] the first right singular vectors of G
///   left   P^T G [r, n], P [m, r] the first left ones
///   full   A^T G B^T [r, r], both
/// std is right for m >= n and left otherwise (the smaller history), reverse_std the other way.
/// The basis is found in float32 from the gradient at hand whenever it is due, and kept in the
/// gradient's dtype or in few bits.
/// Sources: Zhao et al. 2024, GaLore, arXiv:2403.03507, §4; Zhang et al. 2024, Q-GaLore,
/// arXiv:2407.08296, §3.2 (lazy subspaces) and §3.3 (their precision).
class GaloreProjector {
 public:
  /// `path` names the matrix where draws are made.
  GaloreProjector(const GaloreOptions& options, const std::string& path);

  /// The gradient in the subspace, float32; `step` is the number of steps done. Finds the subspace
  /// anew when there is none or the gap is over.
  at::Tensor project(const at::Tensor& gradient, int64_t step);
  /// A direction of the subspace as one of the matrix, scaled: [m, n] float32.
  at::Tensor project_back(const at::Tensor& low) const;
  /// Moves `value` [m, n] along that direction, as move_along() does.
  void move_back(at::Tensor& value, const at::Tensor& low, const StepSize& size,
                 bool decays_first) const;

  /// The shape of a projected gradient of shape [m, n].
  std::vector<int64_t> low_shape(at::IntArrayRef shape) const;
  int64_t gap() const { return gap_; }
  int64_t searches() const { return searches_; }  ///< Subspaces found since it was made.

  void append_state(const std::string& prefix, Optimizer::NamedTensors& out) const;
  void load(const std::string& prefix, at::IntArrayRef shape, at::Device device, SavedState& saved);

 private:
  /// Vectors of the subspace, stored plainly or quantised.
  using Basis = std::variant<at::Tensor, tuners::QuantizedGroups>;

  bool projects_left(at::IntArrayRef shape) const;
  bool projects_right(at::IntArrayRef shape) const;
  void search(const at::Tensor& gradient, int64_t step);
  void follow(const at::Tensor& direction);
  Basis kept(const at::Tensor& basis, at::ScalarType dtype) const;
  Basis loaded(const std::string& name, std::vector<int64_t> shape, at::Device device,
               SavedState& saved) const;

  GaloreOptions options_;
  uint64_t stream_;
  int64_t gap_;
  int64_t searches_ = 0;
  std::optional<Basis> left_;   ///< [m, r]
  std::optional<Basis> right_;  ///< [r, n]
  at::Tensor direction_;        ///< The first singular vector, float32 (Q-GaLore).
  std::deque<double> cosines_;  ///< Between consecutive ones, the latest queue_size.
};

}  // namespace tunefleet::trainer
