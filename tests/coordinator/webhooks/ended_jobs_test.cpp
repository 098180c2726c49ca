#include "coordinator/webhooks/ended_jobs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/coordinator/api/api_fixture.h"

namespace tunefleet::coordinator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class EndedJobsTest : public testing::Test {
 protected:
  EndedJobs open() { return EndedJobs::open(store_, directory_.path() / "cursor.json").value(); }

  std::string make_job() {
    JobRecord job;
    job.owner = "ann";
    job.phase = JobPhase::kQueued;
    job.spec = nlohmann::json::object();
    job.request = nlohmann::json::object();
    return store_.create(job, "").value().id;
  }
  void start(const std::string& id) {
    ASSERT_TRUE(store_.transition(id, 0, JobPhase::kQueued, JobPhase::kRunning, {}));
  }
  void cancel(const std::string& id) {
    ASSERT_TRUE(store_.transition(id, 0, JobPhase::kQueued, JobPhase::kCancelled, {}));
  }
  void end(const std::string& id, JobPhase phase) {
    ASSERT_TRUE(store_.transition(id, 1, JobPhase::kRunning, phase, {}));
  }
  /// What a look hands over.
  std::vector<std::string> look() {
    std::vector<std::string> ids;
    const auto looked = ended_.look([&](const JobRecord& job) {
      EXPECT_TRUE(is_final(job.phase));
      ids.push_back(job.id);
      return Status();
    });
    EXPECT_TRUE(looked) << looked.error().message;
    return ids;
  }

  TemporaryDirectory directory_;
  CuttableStore store_{[] { return int64_t{1'800'000'000'000}; }};
  EndedJobs ended_ = open();
};

TEST_F(EndedJobsTest, TellsEachJobOnceWhenItEnds) {
  const auto first = make_job();
  const auto second = make_job();
  EXPECT_THAT(look(), IsEmpty());
  start(first);
  EXPECT_THAT(look(), IsEmpty());
  end(first, JobPhase::kFailed);
  cancel(second);
  EXPECT_THAT(look(), UnorderedElementsAre(first, second));
  EXPECT_THAT(look(), IsEmpty());
}

TEST_F(EndedJobsTest, FindsAJobThatWasMadeAndEndedBetweenTwoLooks) {
  make_job();
  EXPECT_THAT(look(), IsEmpty());
  const auto brief = make_job();
  make_job();
  cancel(brief);
  EXPECT_THAT(look(), ElementsAre(brief));
}

TEST_F(EndedJobsTest, FindsWhatEndedWhileNobodyLooked) {
  const auto id = make_job();
  start(id);
  EXPECT_THAT(look(), IsEmpty());
  end(id, JobPhase::kSucceeded);
  ended_ = open();
  EXPECT_THAT(look(), ElementsAre(id));
  ended_ = open();
  EXPECT_THAT(look(), IsEmpty());
}

TEST_F(EndedJobsTest, HandsAJobOverAgainWhenItWasNotTaken) {
  const auto id = make_job();
  EXPECT_THAT(look(), IsEmpty());
  cancel(id);
  EXPECT_FALSE(ended_.look([](const JobRecord&) { return fail(ErrorCode::kInternal, "full"); }));
  EXPECT_THAT(look(), ElementsAre(id));
}

TEST_F(EndedJobsTest, LosesNothingWhileTheStoreIsAway) {
  const auto open_one = make_job();
  EXPECT_THAT(look(), IsEmpty());
  const auto new_one = make_job();
  cancel(open_one);
  cancel(new_one);
  store_.cut_off = true;
  const auto away = ended_.look([](const JobRecord&) { return Status(); });
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().code, ErrorCode::kUnavailable);
  store_.cut_off = false;
  EXPECT_THAT(look(), UnorderedElementsAre(open_one, new_one));
}

TEST_F(EndedJobsTest, ReadsMoreThanOnePage) {
  std::vector<std::string> ids;
  for (int i = 0; i < 250; ++i) {
    ids.push_back(make_job());
    cancel(ids.back());
  }
  EXPECT_THAT(look(), testing::UnorderedElementsAreArray(ids));
  EXPECT_THAT(look(), IsEmpty());
}

TEST_F(EndedJobsTest, SaysThatTheCursorIsDamaged) {
  std::ofstream(directory_.path() / "cursor.json") << "{\"newest\": 1}";
  const auto opened = EndedJobs::open(store_, directory_.path() / "cursor.json");
  ASSERT_FALSE(opened);
  EXPECT_EQ(opened.error().code, ErrorCode::kDataLoss);
}

}  // namespace
}  // namespace tunefleet::coordinator
