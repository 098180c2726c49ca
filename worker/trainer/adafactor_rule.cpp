#include "worker/trainer/adafactor_rule.h"

#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>

#include "worker/kernels/flat_norm.h"

namespace tunefleet::trainer {
namespace {

class AdafactorRule : public UpdateRule {
 public:
  at::Tensor direction(const at::Tensor& gradient, int64_t step) override {
    const double beta = 1.0 - std::pow(static_cast<double>(step), kDecayRate);
    make_state(gradient.sizes(), gradient.device());
    at::Tensor update;
    if (gradient.dim() >= 2) {
      add_mean_squares(gradient, beta);
      const auto row = row_.div(row_.mean(-1, /*keepdim=*/true)).rsqrt_().unsqueeze(-1);
      update = row.mul(column_.unsqueeze(-2).rsqrt()).mul_(gradient);
    } else {
      exp_avg_sq_.mul_(beta).add_(gradient.square().add_(kLeastSquare), 1.0 - beta);
      update = exp_avg_sq_.rsqrt().mul_(gradient);
    }
    const auto norm = update.is_cpu()
                          ? at::scalar_tensor(kernels::flat_norm(update.view(-1)), at::kFloat)
                          : update.norm(2.0);  // Waits for no GPU.
    const auto root_mean_square = norm.div(std::sqrt(static_cast<double>(update.numel())));
    return update.div_(root_mean_square.div(kClip).clamp_min(1.0));
  }

  bool decays_first() const override { return true; }

  void append_state(const std::string& prefix, Optimizer::NamedTensors& out) const override {
    if (row_.defined()) {
      out.emplace_back(prefix + "exp_avg_sq_row", row_);
      out.emplace_back(prefix + "exp_avg_sq_col", column_);
    } else if (exp_avg_sq_.defined()) {
      out.emplace_back(prefix + "exp_avg_sq", exp_avg_sq_);
    }
  }

  void load(const std::string& prefix, at::IntArrayRef shape, at::Device device,
            SavedState& saved) override {
    make_state(shape, device);
    if (row_.defined()) {
      row_ = saved.take(prefix + "exp_avg_sq_row", row_.sizes(), device);
      column_ = saved.take(prefix + "exp_avg_sq_col", column_.sizes(), device);
    } else {
      exp_avg_sq_ = saved.take(prefix + "exp_avg_sq", shape, device);
    }
  }

 private:
  static constexpr double kDecayRate = -0.8, kLeastSquare = 1e-30, kClip = 1.0;
  static constexpr int64_t kPiece = int64_t{1} << 22;  ///< Numbers whose squares are held at once.

  /// Moves the means of rows and columns on, some rows at a time: an embedding's gradient is large.
  void add_mean_squares(const at::Tensor& gradient, double beta) {
    const int64_t rows = gradient.size(-2);
    const int64_t at_once =
        std::max<int64_t>(1, kPiece * rows / std::max<int64_t>(1, gradient.numel()));
    row_.mul_(beta);
    column_.mul_(beta);
    for (int64_t from = 0; from < rows; from += at_once) {
      const int64_t count = std::min(at_once, rows - from);
      const auto square = gradient.narrow(-2, from, count).square().add_(kLeastSquare);
      row_.narrow(-1, from, count).add_(square.mean(-1), 1.0 - beta);
      column_.add_(square.sum(-2), (1.0 - beta) / static_cast<double>(rows));
    }
  }

  void make_state(at::IntArrayRef shape, at::Device device) {
    if (row_.defined() || exp_avg_sq_.defined()) return;
    const auto zeros = [&](std::vector<int64_t> of) { return at::zeros(of, device); };
    if (shape.size() < 2) {
      exp_avg_sq_ = zeros(shape.vec());
      return;
    }
    auto columns = shape.slice(0, shape.size() - 2).vec();
    columns.push_back(shape.back());
    row_ = zeros(shape.slice(0, shape.size() - 1).vec());
    column_ = zeros(std::move(columns));
  }

  at::Tensor row_, column_, exp_avg_sq_;
};

}  // namespace

std::unique_ptr<UpdateRule> make_adafactor_rule() { return std::make_unique<AdafactorRule>(); }

}  // namespace tunefleet::trainer
