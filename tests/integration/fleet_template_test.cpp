#include <catch2/catch.hpp>

#include <filesystem>
#include <sstream>

#include <nlohmann/json.hpp>

#include "tests/support/hosts.hpp"

// Templates on their way from node to node.
using namespace caged;
using namespace caged::test;
using namespace std::chrono_literals;
using nlohmann::json;
namespace fs = std::filesystem;

namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

fs::path templates_of(const test_node& node) {
  return fs::path{node.data_dir()} / "templates";
}

/// "web": what minimal has, and so many MB that nothing can compress.
void make_web(const test_node& node, int megabytes) {
  const auto from = templates_of(node) / "minimal";
  const auto to = templates_of(node) / ".web"; // seen when it is whole
  REQUIRE(run({"cp", "-a", from, to}).exit == 0);
  fs::create_directories(to / "rootfs/srv");
  REQUIRE(
      run({"dd", "if=/dev/urandom", "of=" + (to / "rootfs/srv/blob").string(),
           "bs=1M", "count=" + std::to_string(megabytes)},
          within(120s))
          .exit
      == 0);
  write_file((to / "rootfs/srv/tool").string(), "#!/bin/sh\nid -u\n");
  fs::permissions(to / "rootfs/srv/tool", fs::perms{04755});
  fs::rename(to, templates_of(node) / "web");
}

/// Whether a node is known, through another, to have the template.
bool offers(const test_node& through, const std::string& node,
            const std::string& name) {
  const auto got =
      json::parse(through.caged({"node", "get", node, "--format", "json"}).out,
                  nullptr, false);
  if (!got.is_object())
    return false;
  for (const auto& each : got.value("templates", json::array()))
    if (each == name)
      return true;
  return false;
}

std::uintmax_t come(const test_node& node) { // bytes of what is under way
  std::uintmax_t out = 0;
  std::error_code none;
  for (const auto& item :
       fs::directory_iterator{templates_of(node) / ".incoming", none})
    if (item.is_regular_file(none))
      out += item.file_size(none);
  return none ? 0 : out;
}

/// Offsets that fetches have begun at, as the node has logged them.
std::vector<std::uint64_t> begun_at(const test_node& node) {
  std::vector<std::uint64_t> out;
  std::istringstream lines{node.log()};
  for (std::string line; std::getline(lines, line);) {
    const auto event = json::parse(line, nullptr, false);
    if (event.is_object()
        && event.value("event", "") == "a template is fetched")
      out.push_back(std::stoull(event.value("from", "0")));
  }
  return out;
}

} // namespace

TEST_CASE("a template comes to the node that needs it, though its source is "
          "killed meanwhile") {
  if (!etcd_cluster::can_run())
    return;
  hosts f{3};
  REQUIRE_FALSE(f.make_on(0, 2).empty()); // which makes minimal there
  make_web(f[0], 200);
  const auto blob =
      run({"sha256sum", templates_of(f[0]) / "web/rootfs/srv/blob"},
          within(60s))
          .out.substr(0, 64);
  REQUIRE(blob.size() == 64);
  REQUIRE(eventually(10s, [&] { return offers(f[2], "n1", "web"); }));
  CHECK_FALSE(offers(f[2], "n2", "web"));

  // Through one node, on the second, from the third.
  auto making = f[2].start_caged({"up", "--no-config", "--template", "web",
                                  "--node", "n2", "--name", "first"},
                                 within(120s));
  REQUIRE(eventually(60s, [&] { return come(f[1]) > 1'000'000; }));
  f[0].kill();
  const auto had = come(f[1]);
  CHECK_FALSE(fs::exists(templates_of(f[1]) / "web"));
  REQUIRE(f[0].start());
  REQUIRE(making->wait(120s));
  INFO(making->err());
  REQUIRE(making->exit() == 0);
  const auto begun = begun_at(f[1]);
  REQUIRE(begun.size() >= 2);
  CHECK(begun.front() == 0);
  CHECK(begun.back() > 0);
  CHECK(begun.back() <= had + 64 * 1024);
  CHECK(come(f[1]) == 0);

  const auto inside = f[2].caged(
      {"exec", "first", "--", "sha256sum", "/srv/blob"}, within(60s));
  CHECK(inside.out.substr(0, 64) == blob);
  CHECK(f[2].caged({"exec", "first", "--", "stat", "-c", "%a %u:%g %s",
                    "/srv/tool"})
            .out
        == "4755 0:0 16\n");
  REQUIRE(eventually(10s, [&] { return offers(f[2], "n2", "web"); }));
  // Those that have it come first; nobody fetches it again.
  for (int i = 0; i < 4; ++i) {
    const auto next = f[2].caged({"up", "--no-config", "--template", "web"});
    CHECK(next.exit == 0);
    CHECK_FALSE(has(next.err, "comes from"));
  }
  CHECK_FALSE(fs::exists(templates_of(f[2]) / "web"));

  const auto none = f[2].caged({"up", "--no-config", "--template", "wep"});
  CHECK(none.exit != 0);
  CHECK(has(none.err, "there is no template \"wep\" on any node of the fleet"));
  CHECK(has(none.err, "minimal, web"));
  CHECK(f.clear() == "");
}
