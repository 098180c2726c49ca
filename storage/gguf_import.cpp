#include "storage/gguf_import.h"

#include <fmt/format.h>

#include <utility>

#include "storage/atomic_file.h"
#include "storage/gguf.h"
#include "storage/gguf_config.h"
#include "storage/gguf_tokenizer.h"
#include "storage/gguf_weights.h"
#include "storage/staging_directory.h"

namespace tunefleet::storage {

namespace {

namespace fs = std::filesystem;

Status check_target(const fs::path& out_dir) {
  std::error_code error;
  if (!fs::exists(out_dir, error) && !error) return {};
  if (!error && fs::is_directory(out_dir, error) && fs::is_empty(out_dir, error)) return {};
  return fail(
      ErrorCode::kConflict,
      fmt::format("cannot import into a directory that is not empty (choose another name or "
                  "remove it): {}",
                  out_dir.string()));
}

Status write_texts(const fs::path& directory, const TokenizerFiles& files,
                   const GgufModelConfig& model) {
  TokenizerFiles all = files;
  all["config.json"] = model.config.dump(2) + "\n";
  all["generation_config.json"] = model.generation_config.dump(2) + "\n";
  for (const auto& [name, content] : all) {
    if (Status ok = write_file_atomically(directory / name, content); !ok) return ok;
  }
  return {};
}

ImportReport make_report(const fs::path& out_dir, const GgufModelConfig& model,
                         const std::vector<WeightPlan>& plan, Dtype dtype) {
  ImportReport report{out_dir, model.architecture, plan.size()};
  for (const WeightPlan& weight : plan) report.parameters += weight.source->elements();
  report.weight_bytes = static_cast<uint64_t>(report.parameters) * dtype_size(dtype);
  report.tied_embeddings = model.tied_embeddings;
  report.vocab_size = model.vocab_size;
  return report;
}

}  // namespace

Result<ImportReport> import_gguf(const fs::path& gguf_path, const fs::path& out_dir,
                                 const ImportOptions& options, const ImportCallback& progress) {
  if (options.dtype != Dtype::kF32 && options.dtype != Dtype::kBF16) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("GGUF is imported as F32 or BF16 only: {}", dtype_name(options.dtype)));
  }
  if (Status ok = check_target(out_dir); !ok) return fail(ok.error());
  const auto file = GgufFile::open(gguf_path);
  if (!file) return fail(file.error());
  const auto model = read_model_config(*file, options.dtype);
  if (!model) return fail(model.error());
  const auto plan = plan_weights(*file, *model);
  if (!plan) return fail(plan.error());
  const auto tokenizer = make_tokenizer_files(*file);
  if (!tokenizer) return fail(tokenizer.error());

  const fs::path target = out_dir.has_filename() ? out_dir : out_dir.parent_path();
  std::error_code error;
  const fs::path absolute = fs::absolute(target, error);
  fs::create_directories(absolute.parent_path(), error);
  auto staging = StagingDirectory::create(
      absolute.parent_path() / fmt::format(".{}.{}", absolute.filename().string(), unique_name()));
  if (!staging) return fail(staging.error());
  if (Status ok = write_texts(staging->path(), *tokenizer, *model); !ok) return fail(ok.error());
  if (Status ok =
          write_weights(staging->path() / "model.safetensors", *plan, options.dtype, progress);
      !ok) {
    return fail(ok.error());
  }
  if (Status ok = staging->sync(); !ok) return fail(ok.error());
  if (Status ok = staging->rename_to(absolute); !ok) return fail(ok.error());
  return make_report(out_dir, *model, *plan, options.dtype);
}

}  // namespace tunefleet::storage
