#include "worker/trainer/combine_command.h"

#include <c10/util/StringUtil.h>

#include <cstdio>
#include <system_error>

#include "proto/log.h"
#include "tuners/adapter_files.h"
#include "tuners/peft_files.h"
#include "tuners/swift_model.h"
#include "worker/trainer/device.h"
#include "worker/trainer/merge_command.h"
#include "worker/trainer/model_setup.h"

namespace tunefleet::trainer {
namespace {

/// A name that no source has.
constexpr const char* kResult = "combined";

/// What was asked for and the type does not look at.
Status check_used(const tuners::Combination& how) {
  const std::string& type = how.combination_type;
  const bool svd = type.ends_with("svd");
  const bool prunes = type != "svd" && type != "linear" && type != "cat";
  const std::string_view unused = how.svd_rank && !svd     ? "--svd-rank"
                                  : how.svd_clamp && !svd  ? "--svd-clamp"
                                  : how.density && !prunes ? "--density"
                                                           : "";
  if (unused.empty()) return {};
  return fail(ErrorCode::kInvalidArgument,
              c10::str(std::string(unused), " has no use with --type ", type));
}

}  // namespace

Status combine_adapters(const CombineRequest& request) {
  set_threads(1);
  if (auto status = check_used(request.how); !status) return status;
  std::error_code error;
  if (std::filesystem::exists(request.output / tuners::kAdapterConfigFile, error)) {
    return fail(ErrorCode::kConflict,
                c10::str("there is an adapter already, choose another directory: ",
                         request.output.string()));
  }
  const auto source = base_of_adapters(request.model, request.adapters);
  if (!source) return fail(source.error());
  const auto model = load_base(*source, "", "cpu", 0);
  if (!model) return fail(model.error());
  tuners::SwiftModel swift(**model);
  const auto names = load_adapters(swift, request.adapters);
  if (!names) return fail(names.error());
  auto weights = request.weights;
  if (weights.empty()) weights.assign(names->size(), 1.0);
  if (weights.size() != names->size()) {
    return fail(ErrorCode::kInvalidArgument,
                c10::str("as many weights as adapters are wanted: ", weights.size(), " for ",
                         names->size(), " (", c10::Join(", ", *names), ")"));
  }
  log::info(c10::str("combining ", c10::Join(", ", *names), " by ", request.how.combination_type));
  if (auto status = swift.add_weighted_adapter(*names, weights, kResult, request.how); !status)
    return status;
  const auto* result = swift.find_adapter(kResult);
  auto status = tuners::write_adapter_folder(
      request.output, tuners::file_tensors(*result, tuners::FileLayout::kPeft),
      result->config_text(tuners::FileLayout::kPeft));
  if (!status) return status;
  std::printf("%s\n", request.output.c_str());
  return {};
}

}  // namespace tunefleet::trainer
