#include "coordinator/client/serving_options.h"

#include <CLI/CLI.hpp>
#include <chrono>

namespace tunefleet::coordinator {

void add_serving_options(CLI::App& app, ServingOptions& options) {
  app.add_option("--chat-models", options.max_servers,
                 "Base models loaded at the same time to answer conversations; 0: none is answered")
      ->check(CLI::Range(0, 64))
      ->capture_default_str();
  app.add_option_function<double>(
         "--chat-idle",
         [&options](double minutes) {
           options.idle = std::chrono::milliseconds(static_cast<int64_t>(minutes * 60'000));
         },
         "Minutes without a question after which a loaded model is let go [10]")
      ->check(CLI::Range(0.01, 1e6));
}

}  // namespace tunefleet::coordinator
