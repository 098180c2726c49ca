#include "storage/file_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <string>

#include "storage/file_stamp.h"

namespace tunefleet::storage {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

class FileLockTest : public testing::Test {
 protected:
  FileLockTest() {
    std::string name = (fs::temp_directory_path() / "tunefleet-lock-XXXXXX").string();
    directory_ = ::mkdtemp(name.data());
  }
  ~FileLockTest() override { fs::remove_all(directory_); }

  fs::path path() const { return directory_ / "lock"; }
  fs::path directory_;
};

TEST_F(FileLockTest, OneHolderAtATime) {
  auto first = FileLock::try_take(path()).value();
  ASSERT_TRUE(first);
  EXPECT_FALSE(FileLock::try_take(path()).value());
  const auto refused = FileLock::take(path(), 20ms);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(refused.error().message.find(path().string()), std::string::npos);
  first.reset();
  EXPECT_TRUE(FileLock::take(path(), 0ms));
}

TEST_F(FileLockTest, EndsWithAProcessThatIsKilled) {
  const pid_t child = ::fork();
  if (child == 0) {
    const auto held = FileLock::take(path(), 1s);
    if (!held) ::_exit(1);
    std::ofstream(directory_ / "held") << "x";
    for (;;) ::pause();
  }
  for (int i = 0; i < 500 && !fs::exists(directory_ / "held"); ++i) ::usleep(10'000);
  EXPECT_FALSE(FileLock::try_take(path()).value());
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_TRUE(FileLock::take(path(), 5s));
}

TEST_F(FileLockTest, AMissingDirectoryIsTold) {
  const auto taken = FileLock::take(directory_ / "none" / "lock", 1s);
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, ErrorCode::kNotFound);
}

TEST_F(FileLockTest, AStampChangesWithTheFileUnderTheName) {
  EXPECT_EQ(FileStamp::of(path()), FileStamp());
  std::ofstream(path()) << "one";
  const auto before = FileStamp::of(path());
  std::ofstream(directory_ / "aside") << "two";
  fs::rename(directory_ / "aside", path());
  EXPECT_NE(FileStamp::of(path()), before);
}

}  // namespace
}  // namespace tunefleet::storage
