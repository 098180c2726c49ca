#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tuners/sites.h"

namespace tunefleet::models {

/// The parts of one layer; paths are "model.layers.<i>.…".
struct DecoderLayer {
  tuners::ParameterSlot input_norm, post_attention_norm;
  tuners::ParameterSlot q_norm, k_norm;  ///< Base undefined without qk_norm.
  tuners::LinearSite q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj;
  tuners::ModuleSite block, self_attn, mlp;
  tuners::AttentionSite attention;
  int64_t window = 0;  ///< Sliding window; 0: none.
  int64_t origin = 0;  ///< Number of the loaded layer that it is or was copied from.

  std::vector<tuners::LinearSite*> linear_sites();
  /// In Hugging Face's module order.
  std::vector<tuners::ParameterSlot*> parameters();
  /// Sets every path for the place `index` in the list.
  void set_paths(int64_t index);
};

/// The layers of a decoder in their order, with blocks that tuners put between them.
class DecoderLayers : public tuners::LayerList {
 public:
  std::string path() const override { return "model.layers"; }
  int64_t size() const override { return static_cast<int64_t>(own_.size()); }
  std::vector<int64_t> origins() const override;
  std::unique_ptr<tuners::BlockCopy> copy(int64_t index) override;
  void insert(const std::vector<Insertion>& insertions) override;
  void adopt(std::vector<std::unique_ptr<tuners::BlockCopy>> blocks) override;

  /// Makes `count` layers with their paths set. They stay where they are in memory.
  void make(int64_t count);
  /// Own and inserted layers, in order.
  const std::vector<DecoderLayer*>& all() const { return order_; }

 private:
  std::vector<std::unique_ptr<DecoderLayer>> own_;
  std::vector<DecoderLayer*> order_;
};

}  // namespace tunefleet::models
