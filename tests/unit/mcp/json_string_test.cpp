#include <random>

#include <catch2/catch.hpp>

#include "mcp/encode.hpp"

using namespace caged::mcp;

namespace {

void same(const std::string& text) {
  INFO(to_text(text));
  CHECK(to_text_string(text) == to_text(json(text)));
}

} // namespace

TEST_CASE("a string is written as nlohmann writes it, at every place") {
  for (auto c = 0; c < 256; ++c)
    for (std::size_t at = 0; at < 18; ++at) {
      std::string text(18, 'a');
      text[at] = static_cast<char>(c);
      same(text);
      same(text.substr(0, at + 1));
    }
  same("");
}

TEST_CASE("valid and invalid UTF-8 is written as nlohmann writes it") {
  for (const auto* text :
       {"\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xc0\x80",
        "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xe2\x82", "\x80", "\xff", "a\xc3",
        "\xc3\xa9\"\n\xe2\x82\xac\\", "\xef\xbf\xbf"})
    for (std::size_t before = 0; before < 9; ++before)
      same(std::string(before, 'x') + text + "tail of more than eight");
}

TEST_CASE("random bytes and random text are written as nlohmann writes them") {
  std::mt19937 chance{42};
  for (auto round = 0; round < 2000; ++round) {
    std::string text(chance() % 64, ' ');
    for (auto& c : text)
      c = static_cast<char>(round % 2 == 0 ? chance() % 256 : chance() % 128);
    same(text);
  }
}

TEST_CASE("large members stand behind the others of their object") {
  const auto read = [](json object) {
    return json::parse(to_text_with(std::move(object), {"text", "blob"}));
  };
  for (const json& each :
       std::vector<json>{{{"uri", "a"}, {"text", "x\n"}},
                         {{"text", ""}},
                         {{"uri", "a"}, {"blob", "AA=="}, {"text", "t"}},
                         {{"text", "t"}, {"blob", "b"}},
                         {{"uri", "a"}, {"text", 1}},
                         json::object()})
    CHECK(read(each) == each);
}
