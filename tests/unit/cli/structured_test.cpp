#include <catch2/catch.hpp>

#include <nlohmann/json.hpp>
#include <yaml-cpp/yaml.h>

#include "cli/structured.hpp"

using namespace caged;
using namespace caged::cli;
using nlohmann::json;

namespace {

/// What a reader of the YAML gets; scalars by the rules of YAML's core schema,
/// text in quotes stays text.
json back(const YAML::Node& node) {
  if (node.IsMap()) {
    auto out = json::object();
    for (const auto& item : node)
      out[item.first.Scalar()] = back(item.second);
    return out;
  }
  if (node.IsSequence()) {
    auto out = json::array();
    for (const auto& item : node)
      out.push_back(back(item));
    return out;
  }
  if (node.IsNull())
    return nullptr;
  auto text = node.Scalar();
  if (node.Tag() == "!")
    return text;
  auto value = json::parse(text, nullptr, false);
  return value.is_discarded() ? json(text) : value;
}

} // namespace

TEST_CASE("yaml carries the same values as json") {
  json value = {{"id", "cage-1a2b3c4d"},
                {"name", ""},
                {"memory_mb", 18446744073709551615ull},
                {"created_ms", -1},
                {"cpu", 0.25},
                {"whole", 3.0},
                {"gone", nullptr},
                {"yes", true},
                {"labels", json::object()},
                {"causes", json::array()},
                {"rows", {{{"a", 1}, {"b", {1, 2, "three"}}}, json::object()}},
                {"texts",
                 {"no",
                  "Yes",
                  "null",
                  "~",
                  "12",
                  "1e3",
                  "0x1f",
                  "2026-01-01",
                  "- a",
                  "a: b",
                  "a #b",
                  "#a",
                  "trailing ",
                  " leading",
                  "two\nlines",
                  "tab\t",
                  "\"quoted\"",
                  "it's",
                  "gr\u00fc\u00df",
                  "{}",
                  "[",
                  "*a",
                  "&a",
                  "!t",
                  "%",
                  "@",
                  "`",
                  "?",
                  "=",
                  "<<",
                  ".inf",
                  "plain words and-dashes/x.y"}}};
  value["12"] = "a key that looks like a number";
  auto text = dump(value, format::yaml);
  INFO(text);
  CHECK(text.back() == '\n');
  CHECK(back(YAML::Load(text)) == value);
  CHECK(json::parse(dump(value, format::json)) == value);
}

TEST_CASE("yaml keeps control characters and broken text out") {
  json value = {{"text", "\x1b[2J\x07\xff\xc2\x9b"}};
  auto text = dump(value, format::yaml);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(text.find('\x07') == std::string::npos);
  CHECK(text.find('\xff') == std::string::npos);
  CHECK(text.find("\xc2\x9b") == std::string::npos);
}
