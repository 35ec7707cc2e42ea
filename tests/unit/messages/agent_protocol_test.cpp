#include "messages/agent_protocol.hpp"

#include <cmath>

#include <catch2/catch.hpp>

#include "messages/text.hpp"

namespace ap = caged::agent_protocol;
using namespace caged;
using nlohmann::json;

namespace {

std::string repeat(const std::string& what, std::size_t times) {
  std::string out;
  while (times-- > 0)
    out += what;
  return out;
}

/// Everything a reader makes of bytes that come in pieces of `step`.
std::vector<result<ap::line>>
read_all(ap::line_reader& reader, std::string_view bytes, std::size_t step) {
  std::vector<result<ap::line>> out;
  while (!bytes.empty()) {
    reader.feed(bytes.substr(0, step));
    while (auto message = reader.next())
      out.push_back(std::move(*message));
    bytes.remove_prefix(std::min(step, bytes.size()));
  }
  return out;
}

} // namespace

TEST_CASE("a line has a type, perhaps an id and a payload") {
  auto got = ap::parse_line(
      R"( {"payload":{"a":[1,-2,2.5,true,null,"x"]},"new":{},"id":7,"type":"ping"} )");
  REQUIRE(got);
  CHECK(got->type == "ping");
  CHECK(got->id == 7U);
  CHECK(got->payload.dump() == R"({"a":[1,-2,2.5,true,null,"x"]})");
  auto bare = ap::parse_line(R"({"type":"ping"})");
  REQUIRE(bare);
  CHECK_FALSE(bare->id);
  CHECK(bare->payload.is_object());
  CHECK(ap::parse_line(R"({"type":"x","id":9007199254740991})")->id
        == (1ULL << 53) - 1);
}

TEST_CASE("strings are decoded as RFC 8259 has them") {
  auto text = [](const std::string& inside) {
    auto got = ap::parse_line("{\"type\":\"" + inside + "\"}");
    return got ? got->type : "refused";
  };
  CHECK(text(R"(a\"\\\/\b\f\n\r\t)") == "a\"\\/\b\f\n\r\t");
  CHECK(text(R"(\u0041\u00e4\u20AC\ud83d\udc31)")
        == "A\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xb1");
  CHECK(text("\xc3\xa4\xf0\x9f\x90\xb1") == "\xc3\xa4\xf0\x9f\x90\xb1");
  CHECK(text(R"(a\u0000b)") == std::string("a\0b", 3));
  for (const auto* bad :
       {R"(\x)", R"(\u12)", R"(\u12g4)", R"(\ud800)", R"(\ud800x)",
        R"(\ud800\u0041)", R"(\udc00)", "\xff", "\xc3", "\xed\xa0\x80",
        "\xc0\x80", "\xf5\x80\x80\x80", "\x01", "\n", "\x1f", R"(\u+123)"}) {
    CAPTURE(bad);
    CHECK(text(bad) == "refused");
  }
}

TEST_CASE("our reader and the library's agree on what is JSON") {
  const std::vector<std::string> values = {"0",
                                           "-0",
                                           "1",
                                           "-1",
                                           "12",
                                           "01",
                                           "-",
                                           "+1",
                                           "1.",
                                           ".5",
                                           "1.5",
                                           "1e5",
                                           "1E+5",
                                           "1e-5",
                                           "1e",
                                           "1e+",
                                           "0x1",
                                           "1 2",
                                           "18446744073709551615",
                                           "18446744073709551616",
                                           "-9223372036854775808",
                                           "-9223372036854775809",
                                           "1e999",
                                           "NaN",
                                           "Infinity",
                                           "true",
                                           "tru",
                                           "TRUE",
                                           "false",
                                           "null",
                                           "nul",
                                           "[]",
                                           "[",
                                           "]",
                                           "[1",
                                           "[1,",
                                           "[1,]",
                                           "[,1]",
                                           "[1 2]",
                                           "{}",
                                           "{",
                                           "}",
                                           "{\"a\"}",
                                           "{\"a\":}",
                                           "{\"a\":1,}",
                                           "{a:1}",
                                           "{\"a\":1 \"b\":2}",
                                           "{\"a\":1,\"a\":2}",
                                           "[[[]]]",
                                           "[{\"a\":[{}]},[],\"\"]",
                                           "\"\"",
                                           "'a'",
                                           "[\"a\",\"b\"]",
                                           "//",
                                           "/**/1",
                                           "[1]]",
                                           "{}}",
                                           "",
                                           " ",
                                           "\t[ 1 , 2 ]\r",
                                           "\xef\xbb\xbf"
                                           "1",
                                           "\"\\u0000\"",
                                           "1\v",
                                           "[1\f]",
                                           "{\"\":1}",
                                           "0.1e1",
                                           "-0.0",
                                           "1.0",
                                           "[-]",
                                           "[1e5,-2E-2]"};
  for (const auto& value : values) {
    CAPTURE(value);
    auto whole = "{\"type\":\"x\",\"payload\":{\"v\":" + value + "}}";
    auto theirs = json::parse(whole, nullptr, false);
    auto ours = ap::parse_line(whole);
    CHECK(ours.has_value() == !theirs.is_discarded());
    if (ours && !theirs.is_discarded())
      CHECK(ours->payload == theirs.at("payload"));
    if (!ours)
      CHECK(ours.error().code == ec::malformed);
  }
}

TEST_CASE("what is no message is malformed, and its id is still found") {
  std::optional<std::uint64_t> id;
  for (const auto* text :
       {"[]", "1", "\"ping\"", "null", "{}", R"({"id":4})", R"({"type":4})",
        R"({"type":"x","id":-1})", R"({"type":"x","id":"1"})",
        R"({"type":"x","id":1.0})", R"({"type":"x","id":9007199254740992})",
        R"({"type":"x","payload":[]})", R"({"type":"x","payload":null})",
        R"({"type":"x"}x)"}) {
    CAPTURE(text);
    auto got = ap::parse_line(text, &id);
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ec::malformed);
  }
  CHECK_FALSE(ap::parse_line(R"({"id":12,"type":"x","payload":[}")", &id));
  CHECK(id == 12U);
  CHECK_FALSE(ap::parse_line(R"({"payload":{"id":12},"type":4})", &id));
  CHECK_FALSE(id);
  CHECK_FALSE(ap::parse_line(std::string_view{"{\"type\":\"x\"}\0", 13}));
}

TEST_CASE("depth, values and length end where the limits are") {
  auto with = [](const std::string& value) {
    return ap::parse_line("{\"type\":\"x\",\"payload\":{\"a\":" + value + "}}");
  };
  // The line's object and the payload are two of the sixteen.
  CHECK(with(repeat("[", 14) + repeat("]", 14)));
  auto deep = with(repeat("[", 15) + repeat("]", 15));
  REQUIRE_FALSE(deep);
  CHECK(deep.error().code == ec::too_large);
  CHECK(deep.error().message.find("16") != std::string::npos);
  // type, payload, a: three of the values.
  CHECK(with("[" + repeat("1,", limits::agent_values_max - 4) + "1]"));
  auto wide = with("[" + repeat("1,", limits::agent_values_max - 3) + "1]");
  REQUIRE_FALSE(wide);
  CHECK(wide.error().code == ec::too_large);
  auto line =
      "{\"type\":\"" + std::string(limits::agent_line_max - 11, 'x') + "\"}";
  CHECK(line.size() == limits::agent_line_max);
  CHECK(ap::parse_line(line));
  CHECK(ap::parse_line(line + " ").error().code == ec::too_large);
}

TEST_CASE("a reader finds the same messages however the bytes are cut") {
  auto bytes = std::string{"{\"type\":\"a\"}\r\n\n\r\nnot json\n"}
               + "{\"type\":\"b\",\"id\":1}\n" + std::string(3000, 'x') + "\n"
               + "{\"type\":\"c\",\"payload\":{\"len\":5}}\nhello"
               + "{\"type\":\"d\",\"payload\":{\"len\":0}}\n"
               + "{\"type\":\"e\"}\n{\"type\":\"half";
  for (std::size_t step : {1U, 2U, 3U, 7U, 64U, 1000U, 100000U}) {
    CAPTURE(step);
    ap::line_reader reader{2048};
    reader.allow_raw(true);
    auto got = read_all(reader, bytes, step);
    REQUIRE(got.size() == 7);
    CHECK(got[0]->type == "a");
    CHECK(got[1].error().code == ec::malformed);
    CHECK(got[2]->id == 1U);
    CHECK(got[3].error().code == ec::too_large);
    CHECK(got[4]->type == "c");
    CHECK(got[4]->raw == "hello");
    CHECK(got[5]->raw.empty());
    CHECK(got[6]->type == "e");
    CHECK(reader.buffered() == 13);
  }
}

TEST_CASE("raw bytes are taken as they are, too many are skipped") {
  ap::line_reader reader;
  reader.allow_raw(true);
  std::string all;
  for (int i = 0; i < 65536; ++i)
    all += static_cast<char>(i);
  auto sent = ap::encode_data("data", {}, {{"stream", "s"}}, all, true);
  auto got = read_all(reader, sent + "{\"type\":\"next\"}\n", 999);
  REQUIRE(got.size() == 2);
  CHECK(ap::take_bytes(*got[0]).value() == all);
  CHECK(got[1]->type == "next");
  got = read_all(reader,
                 "{\"type\":\"x\",\"id\":3,\"payload\":{\"len\":65537}}\n"
                     + std::string(65537, '\n') + "{\"type\":\"y\"}\n"
                     + "{\"type\":\"z\",\"payload\":{\"len\":-1}}\n",
                 5000);
  REQUIRE(got.size() == 3);
  CHECK(got[0].error().code == ec::too_large);
  CHECK(got[1]->type == "y");
  CHECK(got[2].error().code == ec::malformed);
}

TEST_CASE("without raw a len is a member like any other") {
  ap::line_reader reader;
  auto got = read_all(reader,
                      "{\"type\":\"data\",\"payload\":{\"len\":2}}\n{}\n", 100);
  REQUIRE(got.size() == 2);
  REQUIRE(got[0]);
  CHECK(ap::take_bytes(*got[0]).error().code == ec::bad_request);
}

TEST_CASE("a reader can be made to let go, and goes on behind the line") {
  ap::line_reader reader;
  CHECK(read_all(reader, "{\"type\":\"" + std::string(1000, 'x'), 100).empty());
  CHECK(reader.buffered() == 1009);
  reader.drop_unfinished();
  CHECK(reader.buffered() == 0);
  auto got = read_all(reader, "rest\"}\n{\"type\":\"next\"}\n", 3);
  REQUIRE(got.size() == 1);
  CHECK(got[0]->type == "next");
  reader.allow_raw(true);
  CHECK(read_all(reader, "{\"type\":\"x\",\"payload\":{\"len\":10}}\n12345", 50)
            .empty());
  reader.drop_unfinished();
  got = read_all(reader, "67890{\"type\":\"next\"}\n", 50);
  REQUIRE(got.size() == 1);
  CHECK(got[0]->type == "next");
}

TEST_CASE("what is encoded is read back") {
  for (bool raw : {false, true})
    for (std::size_t size : {0U, 1U, 2U, 3U, 1000U, 65536U})
      for (const auto& payload :
           {json::object(), json{{"stream", "s"}, {"offset", 5}}}) {
        std::string bytes(size, '\xfe');
        ap::line_reader reader;
        reader.allow_raw(raw);
        auto got = read_all(
            reader, ap::encode_data("data", 9, payload, bytes, raw), 100000);
        REQUIRE(got.size() == 1);
        REQUIRE(got[0]);
        CHECK(got[0]->id == 9U);
        CHECK(ap::take_bytes(*got[0]).value() == bytes);
        for (const auto& [key, value] : payload.items())
          CHECK(got[0]->payload.at(key) == value);
      }
  // A name that is no UTF-8 must not throw.
  auto line = ap::encode_line("x", {},
                              {{"name", "a\xff"
                                        "b"}});
  CHECK(ap::parse_line(line.substr(0, line.size() - 1))->payload.at("name")
        == "a\xef\xbf\xbd"
           "b");
}

TEST_CASE("members are checked and named in their refusal") {
  // As it comes off the wire: there whole numbers are unsigned.
  auto payload = json::parse(R"({"text": "t", "number": 5, "flag": true,
    "list": ["a"], "mixed": [1], "map": {"k": "v"}, "null": null,
    "minus": -1, "real": 1.5})");
  CHECK(ap::text(payload, "text").value() == "t");
  CHECK(ap::number(payload, "number").value() == 5);
  CHECK(ap::number(payload, "number", 4).error().message.find("0 to 4")
        != std::string::npos);
  CHECK(ap::number_or(payload, "absent", 9).value() == 9);
  CHECK(ap::number_or(payload, "null", 9).value() == 9);
  CHECK(ap::flag_or(payload, "flag", false).value());
  CHECK(ap::flag_or(payload, "absent", true).value());
  CHECK(ap::text_list(payload, "list").value()
        == std::vector<std::string>{"a"});
  CHECK(ap::text_map(payload, "map").value().at("k") == "v");
  CHECK_FALSE(ap::optional_text(payload, "absent").value());
  auto named = [](const auto& got, const char* name) {
    return !got && got.error().code == ec::bad_request
           && got.error().message.find(name) != std::string::npos;
  };
  CHECK(named(ap::text(payload, "absent"), "absent"));
  CHECK(named(ap::text(payload, "number"), "number"));
  CHECK(named(ap::optional_text(payload, "number"), "number"));
  CHECK(named(ap::number(payload, "absent"), "absent"));
  CHECK(named(ap::number(payload, "minus"), "minus"));
  CHECK(named(ap::number(payload, "real"), "real"));
  CHECK(named(ap::number_or(payload, "text", 0), "text"));
  CHECK(named(ap::flag_or(payload, "number", true), "number"));
  CHECK(named(ap::text_list(payload, "mixed"), "mixed"));
  CHECK(named(ap::text_list(payload, "map"), "map"));
  CHECK(named(ap::text_map(payload, "list"), "list"));
}

TEST_CASE("metrics go there and back, a missing number is named") {
  agent_metrics sample;
  sample.cpu_percent = 12.5;
  sample.memory_used_bytes = 1e9;
  sample.network_receive_bytes = 7;
  auto wire = ap::to_json(sample);
  CHECK_FALSE(wire.contains("network_transmit_bytes"));
  auto back = ap::metrics_from_json(wire);
  REQUIRE(back);
  CHECK(back->cpu_percent == 12.5);
  CHECK(back->network_receive_bytes == 7.0);
  CHECK_FALSE(back->network_transmit_bytes);
  wire.erase("processes");
  CHECK(ap::metrics_from_json(wire).error().message.find("processes")
        != std::string::npos);
  wire["processes"] = "many";
  CHECK(ap::metrics_from_json(wire).error().message.find("processes")
        != std::string::npos);
}
