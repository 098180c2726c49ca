#include "coordinator/client/model_commands.h"

#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>

#include "coordinator/client/api_client.h"
#include "coordinator/client/command.h"
#include "coordinator/client/command_options.h"
#include "coordinator/client/json_fields.h"
#include "coordinator/client/progress_bar.h"
#include "coordinator/client/text_format.h"
#include "storage/gguf_import.h"

namespace tunefleet::coordinator {
namespace {

using nlohmann::json;

struct ImportArguments {
  std::string file;
  std::string name;
  std::string models;
  std::string dtype = "float32";
};

Result<json> ask(const ClientOptions& options, const std::string& path) {
  const auto address = find_service(options.service);
  if (!address) return fail(address.error());
  return ApiClient(*address).get(path);
}

storage::ImportCallback import_line() {
  if (isatty(STDERR_FILENO) == 0) return nullptr;
  return [](const storage::ImportProgress& progress) {
    const bool done = progress.done == progress.total;
    fmt::print(
        stderr, "\r\x1b[K{} {}/{} {}{}",
        render_bar(static_cast<double>(progress.done), static_cast<double>(progress.total), 24),
        progress.done, progress.total, progress.tensor, done ? "\r\x1b[K" : "");
  };
}

/// A name becomes one folder: nothing in it may lead elsewhere.
Status check_model_name(const std::string& name) {
  const bool good =
      !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos;
  if (good) return {};
  return fail(ErrorCode::kInvalidArgument,
              fmt::format("not a name for a model, give one with --name: `{}`", name));
}

json import_json(const storage::ImportReport& report, const std::string& name) {
  return {{"model", name},
          {"directory", report.directory.string()},
          {"architecture", report.architecture},
          {"tensors", report.tensors},
          {"parameters", report.parameters},
          {"weight_bytes", report.weight_bytes},
          {"vocab_size", report.vocab_size}};
}

int import_model(const ImportArguments& arguments, const ClientOptions& options) {
  const std::string name = arguments.name.empty() ? model_name_of(arguments.file) : arguments.name;
  if (const auto good = check_model_name(name); !good) return report(good.error());
  std::filesystem::path models = arguments.models;
  if (models.empty()) models = data_directory(options.service, process_environment) / "models";
  std::error_code error;
  std::filesystem::create_directories(models, error);
  if (error) {
    return report(
        {ErrorCode::kPermissionDenied,
         fmt::format("models directory cannot be made: {}: {}", models.string(), error.message())});
  }
  const storage::ImportOptions import{
      .dtype = arguments.dtype == "bfloat16" ? storage::Dtype::kBF16 : storage::Dtype::kF32};
  const auto made = storage::import_gguf(arguments.file, models / name, import, import_line());
  if (!made) return report(made.error());
  if (options.json) {
    print_json(import_json(*made, name));
  } else {
    fmt::print("{}: {}, {} parameters in {} tensors, {}\n  directory  {}\n", name,
               made->architecture, compact_number(static_cast<double>(made->parameters)),
               made->tensors, size_text(made->weight_bytes), made->directory.string());
  }
  return kExitOk;
}

int list_models(const ClientOptions& options) {
  const auto models = ask(options, "/v1/models");
  if (!models) return report(models.error());
  const json data = field_at(*models, "data");
  if (options.json) {
    print_json(data);
  } else if (data.empty()) {
    fmt::print(
        "no models; bring one in with `tunefleet models import FILE.gguf`, or put a Hugging Face "
        "directory into the "
        "models directory\n");
  } else {
    fmt::print("{}", models_table(data, std::time(nullptr)));
  }
  return kExitOk;
}

CLI::App* add_import(CLI::App& app, ImportArguments& arguments) {
  auto* import = app.add_subcommand(
      "import", "Make a Hugging Face directory of a GGUF file, for jobs to start from");
  import->add_option("FILE", arguments.file, "The .gguf file")
      ->required()
      ->check(CLI::ExistingFile);
  import->add_option("--name", arguments.name,
                     "Name for jobs; by default the file's, less its ending");
  import->add_option("--models", arguments.models, "Models directory; by default <data>/models");
  import->add_option("--dtype", arguments.dtype, "Number format of the weights")
      ->check(CLI::IsMember({"float32", "bfloat16"}))
      ->capture_default_str();
  import->footer(
      "\nExample: tunefleet models import SmolLM2-135M-Instruct.Q4_1.gguf --dtype bfloat16\n" +
      std::string(kExitCodeHelp));
  import->fallthrough();
  return import;
}

bool is_quantization(std::string_view word) {
  std::string upper;
  for (const char c : word) upper += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  for (const auto plain : {"F16", "F32", "BF16", "FP16", "FP32"}) {
    if (upper == plain) return true;
  }
  const size_t digit = upper.starts_with("IQ") ? 2 : 1;
  return upper.size() > digit && (upper[0] == 'Q' || digit == 2) &&
         std::isdigit(static_cast<unsigned char>(upper[digit])) != 0;
}

}  // namespace

std::string model_name_of(const std::filesystem::path& gguf) {
  std::string name = gguf.filename().string();
  if (name.ends_with(".gguf") || name.ends_with(".GGUF")) name.resize(name.size() - 5);
  const size_t cut = name.find_last_of(".-");
  if (cut != std::string::npos && cut > 0 &&
      is_quantization(std::string_view(name).substr(cut + 1)))
    name.resize(cut);
  return name;
}

std::string models_table(const json& models, int64_t now) {
  std::vector<std::vector<std::string>> rows{{"NAME", "KIND", "AGE", "CHECKPOINT"}};
  for (const auto& model : models) {
    const bool tuned = !text_at(model, "job").empty();
    const auto created = number_at(model, "created").value_or(static_cast<double>(now));
    rows.push_back({printable(text_at(model, "id")), tuned ? "tuned" : "base",
                    duration_text(static_cast<double>(now) - created),
                    printable(text_at(model, "checkpoint"))});
  }
  return format_table(rows);
}

std::string fleet_table(const json& agents) {
  std::vector<std::vector<std::string>> rows{{"AGENT", "STATE", "FREE", "SLOTS", "DEVICE", "JOBS"}};
  for (const auto& agent : agents) {
    std::string jobs;
    for (const auto& job : field_at(agent, "jobs")) {
      if (job.is_string()) jobs += (jobs.empty() ? "" : " ") + printable(job.get<std::string>());
    }
    rows.push_back({printable(text_at(agent, "host")), flag_at(agent, "alive") ? "up" : "lost",
                    std::to_string(whole_at(agent, "free_slots").value_or(0)),
                    std::to_string(whole_at(agent, "slots").value_or(0)),
                    flag_at(agent, "cuda") ? "cuda" : "cpu", jobs});
  }
  return format_table(rows);
}

int run_models(int argc, char** argv) {
  CLI::App app("Lists the models that jobs can start from, and those that jobs made",
               "tunefleet models");
  ClientOptions options;
  ImportArguments arguments;
  add_client_options(app, options, "tunefleet models");
  const auto* import = add_import(app, arguments);
  if (const auto code = parse_arguments(app, argc, argv)) return *code;
  return import->parsed() ? import_model(arguments, options) : list_models(options);
}

int run_fleet(int argc, char** argv) {
  CLI::App app("Lists the machines that run jobs, and their free slots", "tunefleet fleet");
  ClientOptions options;
  add_client_options(app, options, "tunefleet fleet --json");
  if (const auto code = parse_arguments(app, argc, argv)) return *code;
  const auto fleet = ask(options, "/v1/fleet");
  if (!fleet) return report(fleet.error());
  const json agents = field_at(*fleet, "agents");
  if (options.json) {
    print_json(*fleet);
  } else if (agents.empty()) {
    fmt::print("no agents; start one with `tunefleet agent`\n");
  } else {
    fmt::print("{}{} jobs waiting\n", fleet_table(agents), whole_at(*fleet, "queued").value_or(0));
  }
  return kExitOk;
}

}  // namespace tunefleet::coordinator
