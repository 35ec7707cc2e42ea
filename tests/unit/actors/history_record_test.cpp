#include "actors/history_record.hpp"

#include <catch2/catch.hpp>

using namespace caged;

namespace {

history_record sample(std::size_t causes, std::size_t text = 20) {
  history_record out;
  out.sandbox = "cage-abc12345";
  out.node = "node-1";
  out.node_name = "n1";
  out.owner = "key:alice";
  out.name = "web";
  out.template_name = "minimal";
  out.runtime = "oci";
  out.takes = {2, 512, 5};
  out.state = phase::paused;
  out.created_ms = 1'796'000'000'000;
  for (std::size_t i = 0; i < causes; ++i)
    out.causes.push_back({out.created_ms + static_cast<std::int64_t>(i),
                          phase::running, phase::paused, "uid:0",
                          std::to_string(i) + std::string(text, '\\')});
  out.changed_ms = out.created_ms + static_cast<std::int64_t>(causes);
  return out;
}

std::string number(const cause& what) {
  return what.text.substr(0, what.text.find('\\'));
}

} // namespace

TEST_CASE("the copy of a history is read as it was written") {
  const auto what = sample(3);
  CHECK(decode_history(what.sandbox, encode(what)) == what);
  const past_name name{"cage-abc12345", 7};
  CHECK(decode_past_name(encode(name)) == name);
  CHECK(history_key("cage-abc12345") == "history/cage-abc12345");
  CHECK(past_key("key:alice", "web") == "past/key:alice/web");
}

TEST_CASE("the copy of a history holds nothing that is secret") {
  sandbox_record from;
  from.id = "cage-abc12345";
  from.owner = "uid:0";
  from.spec.env = {{"TOKEN", "hidden-1"}};
  from.spec.init_script = "echo hidden-2";
  const auto text = encode(head_of(from, "node-1", "n1"));
  CHECK(text.find("hidden") == text.npos);
  CHECK(text.find("TOKEN") == text.npos);
}

TEST_CASE("a history that is too long keeps its beginning and its end") {
  auto what = sample(500, 250); // each backslash is two bytes
  const auto whole = encode(what).size();
  REQUIRE(whole > 10 * history_bytes_most);
  shorten(what);
  CHECK(encode(what).size() <= history_bytes_most);
  CHECK(encode(what).size() > history_bytes_most * 3 / 4);
  CHECK(what.left_out + what.causes.size() == 500);
  REQUIRE(what.cut_at == 10);
  for (std::size_t i = 0; i < 10; ++i)
    CHECK(number(what.causes[i]) == std::to_string(i));
  CHECK(number(what.causes.back()) == "499");
  CHECK(number(what.causes[10]) == std::to_string(10 + what.left_out));
  CHECK(decode_history(what.sandbox, encode(what)) == what);
  const auto shown = told(what);
  REQUIRE(shown.size() == what.causes.size() + 1);
  CHECK(shown[10].text
        == std::to_string(what.left_out)
               + " causes are left out here: the history was too long");
  // One more, as when its node is removed.
  auto last = what.causes.back();
  last.text = "the end";
  what.causes.push_back(last);
  shorten(what);
  CHECK(encode(what).size() <= history_bytes_most);
  CHECK(what.left_out + what.causes.size() == 501);
  CHECK(what.cut_at == 10);
  CHECK(what.causes.back().text == "the end");
}

TEST_CASE("a short history is left as it is") {
  auto what = sample(20);
  const auto before = what;
  shorten(what);
  CHECK(what == before);
  CHECK(told(what).size() == 20);
}

TEST_CASE("the copy of a history that is none is refused, member by member") {
  const auto what = sample(1);
  const auto good = encode(what);
  REQUIRE(decode_history(what.sandbox, good));
  const auto with = [&](const std::string& from, const std::string& to) {
    auto out = good;
    const auto at = out.find(from);
    REQUIRE(at != out.npos);
    return out.replace(at, from.size(), to);
  };
  for (const auto& bad :
       {std::string{}, std::string{"x"}, std::string{"[]"}, std::string{"{}"},
        with("\"paused\"", "\"asleep\""), with("\"paused\"", "4"),
        with("\"causes\":[", "\"causes\":[1,"),
        with("\"causes\":", "\"others\":"),
        with("\"cut_at\":0", "\"cut_at\":2"),
        with("\"cut_at\":0", "\"cut_at\":-1"),
        with("\"cpus\":2", "\"cpus\":5000000000"),
        with("\"cpus\":2", "\"cpus\":\"2\""), with("\"key:alice\"", "null"),
        with("\"key:alice\"", '"' + std::string(300, 'a') + '"'),
        with("\"time_ms\":", "\"time_ms\":1e30,\"t\":"),
        with("\"who\":", "\"whom\":"),
        good + std::string(history_bytes_most, ' ')}) {
    INFO(bad.substr(0, 400));
    const auto got = decode_history(what.sandbox, bad);
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ec::malformed);
  }
  CHECK_FALSE(decode_history("elsewhere", good));
  CHECK_FALSE(decode_past_name(R"({"sandbox":"../x","created_ms":1})"));
  CHECK_FALSE(decode_past_name(R"({"sandbox":"cage-abc12345"})"));
  CHECK_FALSE(decode_past_name("cage-abc12345"));
}

TEST_CASE("what is shown of a copy is fit for a terminal") {
  auto what = sample(1);
  what.causes[0].who = "\x1b[31m";
  what.causes[0].text = "a\nb\x1b]0;title\x07";
  for (const auto& each : told(what)) {
    CHECK(each.who == "\\x1B[31m");
    CHECK(each.text == "a\\x0Ab\\x1B]0;title\\x07");
  }
}
