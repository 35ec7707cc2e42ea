#include "cli/structured.hpp"

#include <algorithm>
#include <array>
#include <cctype>

#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

namespace caged::cli {

using nlohmann::json;

namespace {

/// Whether every reader of YAML 1.1 and 1.2 takes the bare word for text:
/// "no", "12" and "null" are none.
bool is_plain(const std::string& text) {
  static constexpr std::array<const char*, 9> words = {
      "true", "false", "yes", "no", "on", "off", "y", "n", "null"};
  auto letter = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  if (text.empty() || !letter(text.front()) || text.back() == ' ')
    return false;
  if (!std::all_of(text.begin(), text.end(), [&](char c) {
        return letter(c) || (c >= '0' && c <= '9') || c == ' ' || c == '-'
               || c == '_' || c == '.' || c == '/';
      }))
    return false;
  auto lower = text;
  for (auto& c : lower)
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return std::find(words.begin(), words.end(), lower) == words.end();
}

void write_text(YAML::Emitter& out, const std::string& text) {
  if (is_plain(text))
    out << text;
  else
    out << YAML::DoubleQuoted << text;
}

void write(YAML::Emitter& out, const json& value) {
  if (value.is_object()) {
    out << (value.empty() ? YAML::Flow : YAML::Block) << YAML::BeginMap;
    for (const auto& [key, item] : value.items()) {
      out << YAML::Key;
      write_text(out, key);
      out << YAML::Value;
      write(out, item);
    }
    out << YAML::EndMap;
  } else if (value.is_array()) {
    out << (value.empty() ? YAML::Flow : YAML::Block) << YAML::BeginSeq;
    for (const auto& item : value)
      write(out, item);
    out << YAML::EndSeq;
  } else if (value.is_string()) {
    write_text(out, value.get_ref<const std::string&>());
  } else if (value.is_null()) {
    out << YAML::Null;
  } else {
    out << value.dump(); // numbers, true and false are the same in YAML
  }
}

} // namespace

std::string dump(const json& value, format as) {
  auto text = value.dump(2, ' ', false, json::error_handler_t::replace);
  if (as == format::yaml) {
    YAML::Emitter out;
    out.SetIndent(2);
    // Read back, so that both formats replace bad UTF-8 alike.
    write(out, json::parse(text));
    text = out.c_str();
  }
  return text + "\n";
}

} // namespace caged::cli
