#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <bit>
#include <cmath>
#include <csignal>
#include <string>

#include "storage/atomic_file.h"
#include "storage/dtype.h"
#include "storage/half_float.h"
#include "storage/mapped_file.h"
#include "storage/sha256.h"
#include "storage/staging_directory.h"
#include "tests/storage/scratch.h"

namespace tunefleet::storage {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

size_t entries(const fs::path& directory) {
  return static_cast<size_t>(std::distance(fs::directory_iterator(directory), {}));
}

TEST(Dtype, EveryNameGivesItsDtypeBack) {
  for (const char* name : {"I64", "F64", "F32", "I32", "BF16", "F16", "I16", "I8", "U8", "BOOL"}) {
    const auto dtype = dtype_from_name(name);
    ASSERT_TRUE(dtype.has_value()) << name;
    EXPECT_EQ(dtype_name(*dtype), name);
  }
  EXPECT_EQ(dtype_from_name("F8_E4M3"), std::nullopt);
  EXPECT_EQ(dtype_size(Dtype::kBF16), 2u);
}

TEST(HalfFloat, ReadsTheSpecialValuesOfHalves) {
  EXPECT_EQ(float_from_half(0x3C00), 1.0f);
  EXPECT_EQ(float_from_half(0xC000), -2.0f);
  EXPECT_EQ(float_from_half(0x0001), 0x1p-24f);
  EXPECT_EQ(float_from_half(0x03FF), 1023 * 0x1p-24f);
  EXPECT_EQ(float_from_half(0x7BFF), 65504.0f);
  EXPECT_TRUE(std::isinf(float_from_half(0xFC00)));
  EXPECT_TRUE(std::isnan(float_from_half(0x7E00)));
  EXPECT_TRUE(std::signbit(float_from_half(0x8000)));
}

TEST(HalfFloat, RoundsToTheNearestBfloat16TiesToEven) {
  EXPECT_EQ(bfloat16_from_float(1.0f), 0x3F80);
  EXPECT_EQ(bfloat16_from_float(std::bit_cast<float>(0x3F808000u)), 0x3F80);
  EXPECT_EQ(bfloat16_from_float(std::bit_cast<float>(0x3F818000u)), 0x3F82);
  EXPECT_EQ(bfloat16_from_float(std::bit_cast<float>(0x7F7FFFFFu)), 0x7F80);
  EXPECT_TRUE(
      std::isnan(float_from_bfloat16(bfloat16_from_float(std::bit_cast<float>(0x7F800001u)))));
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = float_from_bfloat16(static_cast<uint16_t>(bits));
    if (!std::isnan(value)) {
      ASSERT_EQ(bfloat16_from_float(value), bits);
    }
  }
}

TEST(Sha256, MatchesThePublishedVectors) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, AFileAndItsPiecesGiveTheSameDigest) {
  const Scratch scratch;
  const std::string content(3'000'001, 'x');
  spill(scratch / "a", content);
  Sha256 pieces;
  pieces.update(std::string_view(content).substr(0, 7));
  pieces.update(std::string_view(content).substr(7));
  EXPECT_EQ(sha256_file(scratch / "a").value(), pieces.hex());
  EXPECT_EQ(sha256_file(scratch / "absent").error().code, ErrorCode::kNotFound);
}

TEST(MappedFile, MapsContentAndAnEmptyFile) {
  const Scratch scratch;
  spill(scratch / "a", "content");
  spill(scratch / "empty", "");
  auto file = MappedFile::open(scratch / "a");
  ASSERT_TRUE(file);
  const MappedFile moved = std::move(*file);
  moved.advise(MappedFile::Access::kSequential);
  EXPECT_EQ(moved.bytes().size(), 7u);
  EXPECT_EQ(static_cast<char>(moved.bytes()[6]), 't');
  EXPECT_TRUE(MappedFile::open(scratch / "empty")->bytes().empty());
}

TEST(MappedFile, RefusesWhatIsNoRegularFile) {
  const Scratch scratch;
  ASSERT_EQ(::mkfifo((scratch / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(MappedFile::open(scratch / "absent").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(MappedFile::open(scratch.path()).error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(MappedFile::open(scratch / "fifo").error().code, ErrorCode::kInvalidArgument);
}

TEST(AtomicFile, TheOldFileStaysUntilTheNewOneIsWhole) {
  const Scratch scratch;
  spill(scratch / "a", "old");
  {
    auto file = AtomicFile::create(scratch / "a");
    ASSERT_TRUE(file);
    ASSERT_TRUE(file->write("new content"));
    EXPECT_EQ(slurp(scratch / "a"), "old");
  }
  EXPECT_EQ(slurp(scratch / "a"), "old");
  EXPECT_EQ(entries(scratch.path()), 1u) << "nothing may be left behind";
  ASSERT_TRUE(write_file_atomically(scratch / "a", "new content", 0600));
  EXPECT_EQ(slurp(scratch / "a"), "new content");
  EXPECT_EQ(fs::status(scratch / "a").permissions(),
            fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_EQ(entries(scratch.path()), 1u);
}

TEST(AtomicFile, SaysWhereAndHowMuchWhenTheFileMayNotGrow) {
  const Scratch scratch;
  spill(scratch / "a", "old");
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = write_file_atomically(scratch / "a", std::string(10'000, 'x'));
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kResourceExhausted);
  EXPECT_THAT(status.error().message, HasSubstr("disk full"));
  EXPECT_THAT(status.error().message, HasSubstr((scratch / "a").string()));
  EXPECT_THAT(status.error().message, HasSubstr("5904 bytes"));
  EXPECT_EQ(slurp(scratch / "a"), "old");
  EXPECT_EQ(entries(scratch.path()), 1u);
}

TEST(AtomicFile, AMissingDirectoryIsNotFound) {
  const Scratch scratch;
  EXPECT_EQ(write_file_atomically(scratch / "no/a", "x").error().code, ErrorCode::kNotFound);
}

TEST(ReadSmallFile, RefusesAFileThatIsTooLarge) {
  const Scratch scratch;
  spill(scratch / "a", "12345");
  EXPECT_EQ(read_small_file(scratch / "a", 5).value(), "12345");
  EXPECT_EQ(read_small_file(scratch / "a", 4).error().code, ErrorCode::kInvalidArgument);
}

TEST(StagingDirectory, DisappearsUnlessItIsRenamed) {
  const Scratch scratch;
  {
    auto staging = StagingDirectory::create(scratch / "tmp");
    ASSERT_TRUE(staging);
    spill(staging->path() / "sub/file", "x");
  }
  EXPECT_EQ(entries(scratch.path()), 0u);
  {
    auto staging = StagingDirectory::create(scratch / "tmp");
    ASSERT_TRUE(staging);
    EXPECT_FALSE(StagingDirectory::create(scratch / "tmp"));
    spill(staging->path() / "sub/file", "x");
    ASSERT_TRUE(staging->sync());
    ASSERT_TRUE(staging->rename_to(scratch / "final"));
  }
  EXPECT_EQ(slurp(scratch / "final/sub/file"), "x");
  EXPECT_EQ(entries(scratch.path()), 1u);
}

TEST(UniqueName, IsNeverTheSame) { EXPECT_NE(unique_name(), unique_name()); }

}  // namespace
}  // namespace tunefleet::storage
