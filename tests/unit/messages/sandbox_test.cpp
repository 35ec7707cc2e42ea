#include "messages/sandbox.hpp"

#include <cmath>
#include <functional>
#include <limits>

#include <catch2/catch.hpp>

#include "messages/samples.hpp"

using namespace caged;

TEST_CASE("phases and network modes have names both ways") {
  for (int i = 1; i <= 8; ++i) {
    auto value = static_cast<phase>(i);
    CHECK(phase_from_string(to_string(value)) == value);
  }
  for (int i = 1; i <= 3; ++i) {
    auto value = static_cast<network_mode>(i);
    CHECK(network_mode_from_string(to_string(value)) == value);
  }
  CHECK_FALSE(phase_from_string(""));
  CHECK_FALSE(phase_from_string("error"));
  CHECK_FALSE(network_mode_from_string("bridge"));
}

TEST_CASE("names and ids follow their grammar") {
  CHECK(is_valid_name("a"));
  CHECK(is_valid_name("0-build-"));
  CHECK(is_valid_name(std::string(63, 'a')));
  for (const auto& name :
       {std::string{}, std::string{"-a"}, std::string{"A"}, std::string{"a_b"},
        std::string{"a.b"}, std::string(64, 'a'), std::string{"a\n"}})
    CHECK_FALSE(is_valid_name(name));
  CHECK(is_valid_id("cage-0a1b2c3d"));
  CHECK_FALSE(is_valid_id("cage-0a1b2c3"));
  CHECK_FALSE(is_valid_id("cage-0a1b2c3dd"));
  CHECK_FALSE(is_valid_id("cage-0A1b2c3d"));
  CHECK_FALSE(is_valid_id("cave-0a1b2c3d"));
}

TEST_CASE("a spec at its limits is taken") {
  CHECK(validate(sandbox_spec{}));
  sandbox_spec spec;
  spec.name = "web";
  spec.cpus = 8;
  spec.memory_mb = 8192;
  spec.disk_gb = 50;
  spec.labels = {{"team.example/a_b-c", "any text"}};
  spec.env = {{"A", ""}, {"B", "x=y\n"}};
  CHECK(validate(spec));
  spec.cpus = 1;
  spec.memory_mb = 128;
  spec.disk_gb = 1;
  CHECK(validate(spec));
}

TEST_CASE("a spec beyond a limit is refused with field, value and limit") {
  struct row {
    std::function<void(sandbox_spec&)> change;
    std::vector<std::string> said;
  };
  const std::vector<row> rows = {
      {[](auto& s) { s.cpus = 0; }, {"cpus", "0", "1 to 8"}},
      {[](auto& s) { s.cpus = 9; }, {"cpus", "9", "1 to 8"}},
      {[](auto& s) { s.memory_mb = 64; }, {"memory", "64 MB", "128", "8192"}},
      {[](auto& s) { s.memory_mb = 8193; }, {"memory", "8193"}},
      {[](auto& s) { s.disk_gb = 0; }, {"disk", "0 GB", "1 to 50"}},
      {[](auto& s) { s.disk_gb = 51; }, {"disk", "51"}},
      {[](auto& s) { s.pids = 1; }, {"pids", "1"}},
      {[](auto& s) { s.name = "Bad Name"; }, {"name", "\"Bad Name\""}},
      {[](auto& s) { s.name = "cage-abcdefgh"; }, {"name", "id"}},
      {[](auto& s) { s.template_name = "../x"; }, {"template", "../x"}},
      {[](auto& s) { s.runtime = "docker"; }, {"runtime", "docker"}},
      {[](auto& s) { s.workdir = "here"; }, {"workdir", "absolute"}},
      {[](auto& s) { s.init_script.assign(65537, 'x'); },
       {"init script", "65537", "65536"}},
      {[](auto& s) {
         s.env = {{"A=B", "geheim"}};
       },
       {"env", "A=B"}},
      {[](auto& s) {
         s.env = {{"", "geheim"}};
       },
       {"env"}},
      {[](auto& s) {
         s.env = {{"A", std::string("geheim\0", 7)}};
       },
       {"env", "\"A\"", "NUL"}},
      {[](auto& s) {
         s.env = {{"A", std::string(70000, 'x')}};
       },
       {"env", "65536"}},
      {[](auto& s) {
         s.labels = {{"bad key", ""}};
       },
       {"label", "bad key"}},
      {[](auto& s) {
         s.labels = {{"k", std::string(256, 'x')}};
       },
       {"label", "255"}},
      {[](auto& s) {
         s.labels = {{"k", "a\x1b[m"}};
       },
       {"label", "control"}},
  };
  for (const auto& row : rows) {
    sandbox_spec spec;
    row.change(spec);
    auto got = validate(spec);
    REQUIRE_FALSE(got);
    CAPTURE(got.error().message);
    CHECK(got.error().code == ec::bad_request);
    for (const auto& part : row.said)
      CHECK(got.error().message.find(part) != std::string::npos);
    // A value of env is a secret.
    CHECK(got.error().message.find("geheim") == std::string::npos);
  }
}

TEST_CASE("a reference is an exact id, then a name, then a unique prefix") {
  const std::vector<std::pair<std::string, std::string>> known = {
      {"cage-aaaaaaaa", "web"},
      {"cage-aaaabbbb", "web-2"},
      {"cage-cccccccc", "cage-aaaaaaa"},
      {"cage-dddddddd", ""}};
  CHECK(resolve_reference("cage-aaaaaaaa", known).value() == "cage-aaaaaaaa");
  CHECK(resolve_reference("web", known).value() == "cage-aaaaaaaa");
  CHECK(resolve_reference("web-", known).value() == "cage-aaaabbbb");
  CHECK(resolve_reference("cage-aaaab", known).value() == "cage-aaaabbbb");
  CHECK(resolve_reference("cage-d", known).value() == "cage-dddddddd");
  auto two = resolve_reference("cage-aaaa", known);
  REQUIRE_FALSE(two);
  CHECK(two.error().code == ec::ambiguous);
  CHECK(two.error().message.find("cage-aaaabbbb (web-2)") != std::string::npos);
  auto none = resolve_reference("db", known);
  REQUIRE_FALSE(none);
  CHECK(none.error().code == ec::not_found);
  CHECK(none.error().message.find("\"db\"") != std::string::npos);
  CHECK(resolve_reference("", known).error().code == ec::bad_request);
}

TEST_CASE("an implausible sample is told from a plausible one") {
  agent_metrics good;
  good.cpu_percent = 150;
  good.cpu_seconds = 1e6;
  good.memory_used_bytes = good.memory_total_bytes = 1000;
  good.disk_used_bytes = 5;
  good.disk_total_bytes = 10;
  good.processes = 3;
  auto plausible = [](const agent_metrics& sample) {
    return is_plausible(sample, 2, 1000, 10, 5);
  };
  CHECK(plausible(good));
  const double bad[] = {-1, std::nan(""),
                        std::numeric_limits<double>::infinity(), 1e300};
  for (double value : bad) {
    for (auto member :
         {&agent_metrics::cpu_percent, &agent_metrics::cpu_seconds,
          &agent_metrics::memory_used_bytes, &agent_metrics::memory_total_bytes,
          &agent_metrics::disk_used_bytes, &agent_metrics::disk_total_bytes,
          &agent_metrics::processes}) {
      auto sample = good;
      sample.*member = value;
      CHECK_FALSE(plausible(sample));
    }
    auto sample = good;
    sample.network_receive_bytes = value;
    CHECK_FALSE(plausible(sample));
  }
  good.cpu_percent = 219;
  CHECK(plausible(good));
  good.cpu_percent = 221;
  CHECK_FALSE(plausible(good));
}

TEST_CASE("error codes have names both ways") {
  for (int i = 1; i <= 20; ++i) {
    auto code = static_cast<ec>(i);
    CHECK(ec_from_string(to_string(code)) == code);
  }
  CHECK(to_string(static_cast<ec>(200)) == "internal");
  CHECK(ec_from_string("new_in_2030") == ec::internal);
  CHECK(is_transient(ec::unavailable));
  CHECK_FALSE(is_transient(ec::bad_request));
}
