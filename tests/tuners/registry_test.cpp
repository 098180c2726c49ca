#include "tuners/registry.h"

#include <gtest/gtest.h>

#include <vector>

#include "tuners/config/tuner_list.h"

namespace tunefleet::tuners {
namespace {

/// Two plain lists: the coordinator links the one without torch.
TEST(RegistryTest, MakesExactlyTheTunersWhoseOptionsAreListed) {
  std::vector<const TunerSchema*> made;
  for (const auto& entry : builtin_tuners()) {
    made.push_back(entry.schema);
    EXPECT_NE(entry.make, nullptr) << entry.schema->name;
  }
  EXPECT_EQ(made, tuner_schemas());
}

TEST(RegistryTest, EveryNameIsThatOfOneTuner) {
  for (const auto* schema : tuner_schemas()) {
    EXPECT_EQ(find_tuner_schema(schema->name).value(), schema);
    for (const AdapterKind& kind :
         {AdapterKind{.peft_type = std::string(schema->peft_type), .swift_type = {}},
          AdapterKind{.peft_type = {}, .swift_type = std::string(schema->swift_type)}}) {
      if (kind.peft_type.empty() && kind.swift_type.empty()) continue;
      const auto found = find_tuner_schema(kind);
      ASSERT_TRUE(found) << found.error().message;
      EXPECT_EQ(*found, schema);
    }
  }
}

}  // namespace
}  // namespace tunefleet::tuners
