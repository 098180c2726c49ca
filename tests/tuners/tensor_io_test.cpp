#include "tuners/tensor_io.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace tunefleet::tuners {
namespace {

class TensorIoTest : public testing::TestWithParam<at::ScalarType> {};

TEST_P(TensorIoTest, AViewBecomesTheSameTensorAgain) {
  const at::Tensor tensor = at::arange(12).reshape({3, 4}).to(GetParam());
  const storage::TensorView view = view_of("x", tensor);
  EXPECT_EQ(view.name, "x");
  EXPECT_EQ(view.shape, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(view.bytes, 12 * tensor.element_size());
  for (const at::Tensor& again : {copy_tensor(view), map_tensor(view, nullptr)}) {
    EXPECT_EQ(again.scalar_type(), GetParam());
    EXPECT_TRUE(at::equal(again, tensor));
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, TensorIoTest,
                         testing::Values(at::kFloat, at::kDouble, at::kBFloat16, at::kHalf,
                                         at::kLong, at::kInt, at::kShort, at::kChar, at::kByte,
                                         at::kBool));

TEST(MapTensorTest, SharesTheBytesAndHoldsTheirOwner) {
  auto owner = std::make_shared<at::Tensor>(at::ones({2, 3}));
  const storage::TensorView view = view_of("x", *owner);
  at::Tensor mapped = map_tensor(view, owner);
  EXPECT_EQ(mapped.const_data_ptr(), view.data);
  EXPECT_EQ(owner.use_count(), 2);
  at::Tensor part = mapped.narrow(0, 1, 1);
  mapped.reset();
  EXPECT_EQ(owner.use_count(), 2) << "a slice still needs the bytes";
  part.reset();
  EXPECT_EQ(owner.use_count(), 1);
}

TEST(MapTensorTest, CopiesBytesThatAreNotAligned) {
  const at::Tensor bytes = at::zeros({9}, at::kByte);
  storage::TensorView view;
  view.name = "x";
  view.dtype = storage::Dtype::kF32;
  view.shape = {2};
  view.data = static_cast<const std::byte*>(bytes.const_data_ptr()) + 1;
  view.bytes = 8;
  const at::Tensor tensor = map_tensor(view, nullptr);
  EXPECT_NE(tensor.const_data_ptr(), view.data);
  EXPECT_TRUE(at::equal(tensor, at::zeros({2})));
}

TEST(MapTensorTest, AnEmptyTensorNeedsNoBytes) {
  storage::TensorView view;
  view.shape = {0, 4};
  EXPECT_EQ(map_tensor(view, nullptr).sizes().vec(), (std::vector<int64_t>{0, 4}));
  view.shape = {};
  const at::Tensor scalar = at::scalar_tensor(2.5);
  EXPECT_EQ(copy_tensor(view_of("s", scalar)).item<double>(), 2.5);
}

TEST(ViewOfTest, RefusesWhatIsNotContiguous) {
  EXPECT_THROW(view_of("x", at::zeros({3, 4}).t()), std::invalid_argument);
  EXPECT_THROW(view_of("x", at::zeros({2}, at::kComplexFloat)), std::invalid_argument);
}

}  // namespace
}  // namespace tunefleet::tuners
