#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace tunefleet::trainer {

/// A tensor of an optimizer's state in 8 bits a number: the number over the largest of its block,
/// as the nearest of 256 values that lie dense around zero.
/// Source: Dettmers et al. 2021, arXiv:2110.02861, §2.1 (block-wise) and §1.3 (dynamic tree; the
/// unsigned form has the sign's bit as one more of the fraction).
class Dynamic8Bit {
 public:
  static constexpr int64_t kBlock = 256;

  /// Zeros of that shape; `is_signed` false for numbers that are never negative.
  Dynamic8Bit(at::IntArrayRef shape, at::Device device, bool is_signed);

  at::Tensor read() const;  ///< float32
  void write(const at::Tensor& value);

  const at::Tensor& codes() const { return codes_; }      ///< uint8 [n]
  const at::Tensor& largest() const { return largest_; }  ///< float32 [blocks]
  /// Takes saved tensors over.
  void load(at::Tensor codes, at::Tensor largest);

  struct Tree;
  /// Block by block on the CPU, from any thread; a view, which the state outlives.
  struct Blocks {
    const Tree* tree;
    uint8_t* codes;
    float* largest;
    /// Block b, the first `count` numbers of it.
    void read(int64_t b, int64_t count, float* numbers) const;
    void write(int64_t b, int64_t count, const float* numbers) const;
  };
  Blocks blocks();

 private:
  const Tree& tree_;  ///< Of the process, for the CPU's loops.
  std::vector<int64_t> shape_;
  at::Tensor values_;      ///< float32 [256], ascending.
  at::Tensor boundaries_;  ///< float32 [255], half-way between two values.
  at::Tensor codes_, largest_;
};

}  // namespace tunefleet::trainer
