#include "storage/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <random>
#include <string>

#include "storage/atomic_file.h"
#include "storage/sha256.h"
#include "tests/storage/scratch.h"

namespace tunefleet::storage {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::HasSubstr;

/// Writes a checkpoint with `content` in two files.
Result<fs::path> write(const fs::path& run, int64_t step, const std::string& content,
                       int64_t attempt = 1) {
  auto writer = CheckpointWriter::begin(run, {attempt, 2, "digest"});
  if (!writer) return fail(writer.error());
  spill(writer->directory() / "weights", content);
  spill(writer->directory() / "state/optimizer", content + content);
  return writer->commit(step, {{"loss", 0.5}});
}

std::vector<std::string> names_in(const fs::path& directory) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(directory))
    names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

class CheckpointTest : public testing::Test {
 protected:
  fs::path run() const { return scratch_ / "run"; }
  std::string latest() const { return fs::read_symlink(run() / "latest").string(); }
  fs::path newest(std::vector<SkippedCheckpoint>* skipped = nullptr) const {
    const auto path = newest_checkpoint(run(), skipped);
    EXPECT_TRUE(path) << path.error().message;
    return path && *path ? (*path)->filename() : fs::path("none");
  }

  Scratch scratch_;
};

TEST_F(CheckpointTest, WhatIsCommittedVerifiesAndIsTheLatest) {
  const auto path = write(run(), 10, "abc");
  ASSERT_TRUE(path) << path.error().message;
  EXPECT_EQ(*path, run() / "checkpoint-10");
  EXPECT_EQ(latest(), "checkpoint-10");
  const auto manifest = verify_checkpoint(run() / "latest");
  ASSERT_TRUE(manifest) << manifest.error().message;
  EXPECT_EQ(manifest->step, 10);
  EXPECT_EQ(manifest->attempt, 1);
  EXPECT_EQ(manifest->world_size, 2);
  EXPECT_EQ(manifest->base_model_digest, "digest");
  EXPECT_EQ(manifest->metadata, (json{{"loss", 0.5}}));
  EXPECT_EQ(manifest->files.size(), 2u);
  EXPECT_EQ(manifest->files.at("weights"), (ManifestFile{3, sha256_hex("abc")}));
  EXPECT_EQ(manifest->files.at("state/optimizer"), (ManifestFile{6, sha256_hex("abcabc")}));
  EXPECT_THAT(manifest->created, testing::MatchesRegex("20..-..-..T..:..:..Z"));
  EXPECT_EQ(names_in(run()), (std::vector<std::string>{"checkpoint-10", "latest"}));
}

TEST_F(CheckpointTest, AnUncommittedDirectoryDisappears) {
  {
    auto writer = CheckpointWriter::begin(run(), {});
    ASSERT_TRUE(writer);
    spill(writer->directory() / "weights", "x");
    EXPECT_EQ(newest(), "none");
  }
  EXPECT_TRUE(names_in(run()).empty());
}

TEST_F(CheckpointTest, AWriterCommitsOnceAndOwnsTheManifest) {
  auto writer = CheckpointWriter::begin(run(), {});
  ASSERT_TRUE(writer->commit(1, {}));
  EXPECT_FALSE(writer->commit(2, {}));
  auto other = CheckpointWriter::begin(run(), {});
  EXPECT_FALSE(other->commit(-1, {}));
  fs::create_symlink("/etc/passwd", other->directory() / "link");
  EXPECT_THAT(other->commit(2, {}).error().message, HasSubstr("files and directories only"));
  fs::remove(other->directory() / "link");
  spill(other->directory() / "manifest.json", "{}");
  EXPECT_THAT(other->commit(2, {}).error().message, HasSubstr("not the caller's"));
  fs::remove(other->directory() / "manifest.json");
  EXPECT_FALSE(other->commit(2, {{"text", "\xFF"}}));
  EXPECT_EQ(latest(), "checkpoint-1");
}

TEST_F(CheckpointTest, NamesTheDamagedFileAndBothSums) {
  ASSERT_TRUE(write(run(), 10, "abc"));
  const fs::path file = run() / "checkpoint-10/weights";
  spill(file, "abd");
  auto error = verify_checkpoint(run() / "checkpoint-10").error();
  EXPECT_EQ(error.code, ErrorCode::kDataLoss);
  EXPECT_THAT(error.message, HasSubstr(file.string()));
  EXPECT_THAT(error.message, HasSubstr(sha256_hex("abc")));
  EXPECT_THAT(error.message, HasSubstr(sha256_hex("abd")));
  spill(file, "abcd");
  EXPECT_THAT(verify_checkpoint(run() / "checkpoint-10").error().message,
              HasSubstr("4 != 3 bytes"));
  fs::remove(file);
  EXPECT_THAT(verify_checkpoint(run() / "checkpoint-10").error().message, HasSubstr("missing"));
  fs::create_symlink("state/optimizer", file);
  EXPECT_FALSE(verify_checkpoint(run() / "checkpoint-10"));
}

TEST_F(CheckpointTest, WalksBackToTheNewestThatVerifies) {
  for (const int64_t step : {2, 10, 9}) ASSERT_TRUE(write(run(), step, "abc"));
  EXPECT_EQ(newest(), "checkpoint-10") << "by number, not by text";
  fs::remove(run() / "checkpoint-10/manifest.json");
  spill(run() / "checkpoint-9/weights", "torn");
  std::vector<SkippedCheckpoint> skipped;
  EXPECT_EQ(newest(&skipped), "checkpoint-2");
  ASSERT_EQ(skipped.size(), 2u);
  EXPECT_EQ(skipped[0].path.filename(), "checkpoint-10");
  EXPECT_EQ(skipped[0].reason.code, ErrorCode::kNotFound);
  EXPECT_EQ(skipped[1].reason.code, ErrorCode::kDataLoss);
  fs::rename(run() / "checkpoint-2", run() / "checkpoint-77");
  EXPECT_EQ(newest(), "none") << "of another step than its name";
}

TEST_F(CheckpointTest, OtherNamesAreNoCheckpoints) {
  ASSERT_TRUE(write(run(), 3, "abc"));
  fs::create_directories(run() / "checkpoint-");
  fs::create_directories(run() / "checkpoint--5");
  fs::create_directories(run() / "checkpoint-7x");
  fs::create_directories(run() / "checkpoint-99999999999999999999");
  spill(run() / "checkpoint-8", "a file");
  EXPECT_EQ(list_checkpoints(run())->size(), 1u);
  EXPECT_EQ(newest(), "checkpoint-3");
  EXPECT_FALSE(newest_checkpoint(scratch_ / "absent")->has_value());
}

TEST_F(CheckpointTest, ALaterAttemptFencesAnEarlierOne) {
  auto straggler = CheckpointWriter::begin(run(), {.attempt = 1});
  ASSERT_TRUE(straggler);
  ASSERT_TRUE(write(run(), 10, "second", 2));
  EXPECT_FALSE(fs::exists(straggler->directory())) << "swept with what dead writers left";
  auto late = CheckpointWriter::begin(run(), {.attempt = 1});
  EXPECT_EQ(late->commit(10, {}).error().code, ErrorCode::kConflict);
  EXPECT_EQ(late->commit(20, {}).error().code, ErrorCode::kConflict);
  EXPECT_EQ(slurp(run() / "latest/weights"), "second");
}

TEST_F(CheckpointTest, ReplacesTheSameStepOfAnEarlierAttemptAndATornOne) {
  ASSERT_TRUE(write(run(), 10, "first", 1));
  ASSERT_TRUE(write(run(), 10, "second", 2));
  EXPECT_EQ(slurp(run() / "latest/weights"), "second");
  spill(run() / "checkpoint-10/weights", "torn");
  ASSERT_TRUE(write(run(), 10, "third", 2));
  EXPECT_EQ(verify_checkpoint(run() / "latest")->files.at("weights").sha256, sha256_hex("third"));
  EXPECT_EQ(names_in(run()), (std::vector<std::string>{"checkpoint-10", "latest"}));
}

TEST_F(CheckpointTest, AReplacementThatDiedHalfWayIsUndone) {
  ASSERT_TRUE(write(run(), 10, "good"));
  fs::rename(run() / "checkpoint-10", run() / "old.1.abc");
  fs::create_directories(run() / "tmp.1.def");
  fs::create_directories(run() / "tmp.5.later");
  spill(run() / "tmp.latest.x", "");
  ASSERT_TRUE(remove_stale_checkpoints(run(), 2));
  EXPECT_EQ(newest(), "checkpoint-10");
  EXPECT_EQ(names_in(run()), (std::vector<std::string>{"checkpoint-10", "latest", "tmp.5.later"}));
}

TEST_F(CheckpointTest, PrunesTheOldestButKeepsLatestAndProtected) {
  for (const int64_t step : {1, 2, 3, 4, 5}) ASSERT_TRUE(write(run(), step, "abc"));
  EXPECT_FALSE(prune_checkpoints(run(), 0));
  EXPECT_EQ(prune_checkpoints(run(), 3, {run() / "checkpoint-1"}).value(), 2);
  EXPECT_EQ(names_in(run()),
            (std::vector<std::string>{"checkpoint-1", "checkpoint-4", "checkpoint-5", "latest"}));
  fs::remove(run() / "latest");
  fs::create_symlink("checkpoint-1", run() / "latest");
  EXPECT_EQ(prune_checkpoints(run(), 1).value(), 2);
  EXPECT_EQ(names_in(run()), (std::vector<std::string>{"checkpoint-1", "latest"}));
}

class ManifestTextTest : public testing::TestWithParam<const char*> {};
TEST_P(ManifestTextTest, ADamagedManifestIsAnError) {
  const Scratch scratch;
  spill(scratch / "manifest.json", GetParam());
  EXPECT_FALSE(read_manifest(scratch.path()));
}
INSTANTIATE_TEST_SUITE_P(
    All, ManifestTextTest,
    testing::Values(
        "", "[]", "{}", R"({"version":2})", R"({"version":"1"})",
        R"({"version":1,"step":1,"attempt":1,"world_size":1,"base_model_digest":"",)"
        R"("created":"","metadata":{},"files":{"../x":{"bytes":1,"sha256":""}}})",
        R"({"version":1,"step":1,"attempt":1,"world_size":1,"base_model_digest":"",)"
        R"("created":"","metadata":{},"files":{"/etc/passwd":{"bytes":1,"sha256":""}}})",
        R"({"version":1,"step":1,"attempt":1,"world_size":1,"base_model_digest":"",)"
        R"("created":"","metadata":{},"files":{"x":3}})",
        R"({"version":1,"step":1,"attempt":1,"world_size":1,"base_model_digest":"",)"
        R"("created":"","metadata":{},"files":7})"));

TEST_F(CheckpointTest, EveryTruncationAndFlipOfItsFilesIsNoticed) {
  ASSERT_TRUE(write(run(), 1, "good"));
  ASSERT_TRUE(write(run(), 2, "0123456789"));
  std::mt19937 random(4);
  for (const char* name : {"weights", "state/optimizer"}) {
    const fs::path path = run() / "checkpoint-2" / name;
    const std::string content = slurp(path);
    for (size_t size = 0; size < content.size(); ++size) {
      spill(path, content.substr(0, size));
      ASSERT_EQ(newest(), "checkpoint-1");
    }
    for (int i = 0; i < 100; ++i) {
      std::string altered = content;
      altered[random() % altered.size()] ^= static_cast<char>(1u << (random() % 8));
      spill(path, altered);
      ASSERT_EQ(newest(), "checkpoint-1");
    }
    spill(path, content);
  }
  EXPECT_EQ(newest(), "checkpoint-2");
}

/// SIGKILL at any moment of writing, also while a checkpoint is being replaced.
TEST_F(CheckpointTest, AKilledWriterLeavesTheRunUsable) {
  ASSERT_TRUE(write(run(), 1, "good"));
  std::mt19937 random(5);
  for (int i = 0; i < 40; ++i) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (int64_t step = 2;; ++step) (void)write(run(), 2 + step % 3, std::string(20'000, 'x'));
    }
    ::usleep(1000 + random() % 30'000);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ASSERT_NE(newest(), "none");
    const auto pointed = verify_checkpoint(run() / "latest");
    ASSERT_TRUE(pointed) << "round " << i << ": " << pointed.error().message;
  }
  ASSERT_TRUE(write(run(), 9, "after"));
  EXPECT_EQ(newest(), "checkpoint-9");
  for (const auto& name : names_in(run())) EXPECT_FALSE(name.starts_with("tmp.")) << name;
}

/// A filesystem of 1 MiB that is really full, in a mount namespace that ends with the process.
class FullDiskTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::create_directories(disk_);
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount("tmpfs", disk_.c_str(), "tmpfs", 0, "size=1m,nr_inodes=60") != 0) {
      GTEST_SKIP() << "mounting a small tmpfs is not permitted here: " << std::strerror(errno);
    }
    mounted_ = true;
  }
  void TearDown() override {
    if (mounted_) ::umount(disk_.c_str());
  }

  Scratch scratch_;
  fs::path disk_ = scratch_ / "disk";
  bool mounted_ = false;
};

TEST_F(FullDiskTest, LeavesTheEarlierCheckpointAndLatestAlone) {
  const fs::path run = disk_ / "run";
  ASSERT_TRUE(write(run, 1, std::string(100'000, 'a')));
  for (const size_t size : {400'000, 330'000, 240'000, 231'000}) {
    spill(disk_ / "filler", std::string(0, 'f'));
    auto writer = CheckpointWriter::begin(run, {.attempt = 1});
    ASSERT_TRUE(writer) << writer.error().message;
    auto file = AtomicFile::create(writer->directory() / "weights");
    ASSERT_TRUE(file);
    Status written = file->write(std::string(size, 'b'));
    if (written) written = file->commit();
    spill(disk_ / "filler", std::string(1'000'000, 'f'));  // takes what is left
    const auto committed =
        written ? writer->commit(2, {}) : Result<fs::path>(fail(written.error()));
    ASSERT_FALSE(committed) << size;
    EXPECT_EQ(committed.error().code, ErrorCode::kResourceExhausted);
    EXPECT_THAT(committed.error().message, HasSubstr("disk full"));
    EXPECT_EQ(fs::read_symlink(run / "latest"), "checkpoint-1");
    EXPECT_TRUE(verify_checkpoint(run / "latest"));
    EXPECT_EQ(newest_checkpoint(run)->value().filename(), "checkpoint-1");
  }
  fs::remove(disk_ / "filler");
  ASSERT_TRUE(write(run, 2, "b")) << "goes on when there is space again";
  EXPECT_EQ(names_in(run), (std::vector<std::string>{"checkpoint-1", "checkpoint-2", "latest"}));
}

TEST_F(FullDiskTest, RunningOutOfInodesIsADiskFullToo) {
  const fs::path run = disk_ / "run";
  ASSERT_TRUE(write(run, 1, "a"));
  for (int left = 0; left < 6; ++left) {
    auto writer = CheckpointWriter::begin(run, {.attempt = 1});
    ASSERT_TRUE(writer);
    spill(writer->directory() / "weights", "b");
    std::vector<fs::path> fillers;
    for (int i = 0; i < 100; ++i) {
      fillers.push_back(disk_ / ("filler" + std::to_string(i)));
      std::ofstream(fillers.back()) << "";
      if (!fs::exists(fillers.back())) break;
    }
    for (int i = 0; i < left; ++i) fs::remove(fillers[static_cast<size_t>(i)]);
    const auto committed = writer->commit(2, {});
    if (!committed) {
      EXPECT_EQ(committed.error().code, ErrorCode::kResourceExhausted);
    }
    EXPECT_TRUE(verify_checkpoint(run / "latest"));
    for (const fs::path& filler : fillers) fs::remove(filler);
  }
  EXPECT_EQ(newest_checkpoint(run)->value().filename(), "checkpoint-2");
}

}  // namespace
}  // namespace tunefleet::storage
