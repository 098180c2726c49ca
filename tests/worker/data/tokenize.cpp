// Encodes texts with our tokenizer, for comparison with another:
//   tokenize <tokenizer.json> ids <texts.jsonl> <ids.jsonl>       one JSON string a line in, one
//   list of ids out;
//                                                                 decoding must give the text again
//   tokenize <tokenizer.json> ids-only <texts.jsonl> <ids.jsonl>  the same without decoding
//   tokenize <tokenizer.json> rate <text file> <passes>           prints tokens and seconds of the
//   fastest pass
#include <chrono>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "worker/data/tokenizer.h"

namespace {

using tunefleet::data::Tokenizer;

int fail_with(const std::string& message) {
  std::cerr << "tokenize: " << message << '\n';
  return 1;
}

int write_ids(const Tokenizer& tokenizer, const char* texts, const char* out, bool decodes) {
  std::ifstream in(texts);
  std::ofstream ids_file(out);
  for (std::string line; std::getline(in, line);) {
    const auto text = nlohmann::json::parse(line).get<std::string>();
    const auto ids = tokenizer.encode(text);
    if (!ids) return fail_with(ids.error().message);
    if (decodes && tokenizer.decode(*ids, false) != text)
      return fail_with("decoding changes the text: " + line);
    ids_file << nlohmann::json(*ids).dump() << '\n';
  }
  return ids_file.flush() ? 0 : fail_with("writing failed");
}

int print_rate(const Tokenizer& tokenizer, const char* path, int passes) {
  std::vector<std::string> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) lines.push_back(line + "\n");
  size_t tokens = 0;
  double best = 1e9;
  for (int pass = 0; pass < passes; ++pass) {
    tokens = 0;
    const auto start = std::chrono::steady_clock::now();
    for (const auto& line : lines) {
      const auto ids = tokenizer.encode(line);
      if (!ids) return fail_with(ids.error().message);
      tokens += ids->size();
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  std::cout << tokens << ' ' << best << '\n';
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5)
    return fail_with("usage: tokenize FILE ids TEXTS OUT | tokenize FILE rate TEXT PASSES");
  const auto tokenizer = Tokenizer::load(argv[1]);
  if (!tokenizer) return fail_with(tokenizer.error().message);
  const std::string_view mode = argv[2];
  if (mode.starts_with("ids")) return write_ids(*tokenizer, argv[3], argv[4], mode == "ids");
  return print_rate(*tokenizer, argv[3], std::stoi(argv[4]));
}
