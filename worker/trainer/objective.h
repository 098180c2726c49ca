#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "proto/job_spec.h"
#include "tuners/swift_model.h"
#include "worker/models/decoder.h"
#include "worker/trainer/training_data.h"

namespace tunefleet::trainer {

/// What an objective counts and adds up: over micro-batches, steps and ranks alike.
using Sums = std::vector<double>;
/// Means made of them, under the names of the log, in its order.
using Figures = std::vector<std::pair<std::string, double>>;
/// Rows of one forward pass each.
using Parts = std::vector<std::vector<int64_t>>;

/// What a run minimises. The trainer says which rows a step has and does with the gradients what is
/// the same for all; an objective turns rows into a loss.
///
///   begin_step -> loss, once for each part          begin_evaluation -> measure, once for each
///   part
class Objective {
 public:
  /// What one backward pass starts from.
  struct Part {
    at::Tensor loss;     ///< Its part of the step's loss: the parts of all ranks sum up to that.
    double value = 0.0;  ///< The same as a number.
    int64_t tokens = 0;  ///< Input tokens.
  };

  virtual ~Objective() = default;

  /// How many numbers its Sums have.
  virtual size_t sum_count() const = 0;
  /// Notes a step's training rows over all ranks, of which this one has `parts`. Every rank calls
  /// it, also with no part. `context`: of training.
  virtual void begin_step(const std::vector<int64_t>& rows, const Parts& parts,
                          const tuners::ForwardContext& context) = 0;
  /// The forward pass of part `index`. `anchor` as Decoder::loss() takes it; `sums` is added to.
  virtual Part loss(size_t index, const tuners::ForwardContext& context, const at::Tensor& anchor,
                    Sums& sums) = 0;

  /// Notes this rank's rows of an evaluation, the same in every one. `context`: of evaluation.
  virtual void begin_evaluation(const Parts& parts, const tuners::ForwardContext& context) = 0;
  /// Adds part `index` to `sums`, without gradients.
  virtual void measure(size_t index, const tuners::ForwardContext& context, Sums& sums) = 0;

  /// The loss of all rows in `sums`.
  virtual double mean_loss(const Sums& sums) const = 0;
  virtual Figures figures(const Sums& sums) const = 0;
  /// What `mean_loss` is a mean over: "tokens", and how many there are in `sums`.
  virtual std::string_view unit() const = 0;
  virtual int64_t count(const Sums& sums) const = 0;
  /// How well the rows in `sums` do, in words: "token accuracy 0.512".
  virtual std::string words(const Sums& sums) const = 0;
};

/// The objective that the job's rlhf_type names; borrows everything.
std::unique_ptr<Objective> make_objective(const JobSpec& spec, const TrainingData& data,
                                          const models::Decoder& model, tuners::SwiftModel& swift);

/// `context` with the keys of the batch's tokens.
tuners::ForwardContext with_token_keys(tuners::ForwardContext context, const data::Batch& batch);

/// "0.512".
std::string three_digits(double value);

}  // namespace tunefleet::trainer
