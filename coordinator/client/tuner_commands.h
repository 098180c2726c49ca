#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

namespace tunefleet::tuners {
struct TunerSchema;
}

namespace tunefleet::coordinator {

/// `tunefleet tuners [NAME]`: what can be trained, with every option, and the ways of training that
/// are no adapters (training_methods.h), with their job keys. Needs no service.
int run_tuners(int argc, char** argv);

/// Widest line of the tables, in characters.
inline constexpr size_t kTunersWidth = 100;

/// Every tuner on a line, and one tuner with its options.
std::string tuners_table();
std::string tuner_page(const tuners::TunerSchema& schema);
/// What --json prints of one tuner: name, adapter (true), summary, source, peft_type, swift_type
/// (null when there is none), formats, can_merge, options [{key, job_key, kind, default, limits,
/// allowed, required, files, help}].
nlohmann::json tuner_json(const tuners::TunerSchema& schema);

}  // namespace tunefleet::coordinator
