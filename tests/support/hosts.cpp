#include "tests/support/hosts.hpp"

#include <algorithm>
#include <csignal>

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "tests/support/fleet.hpp"
#include "tests/support/person.hpp"

namespace caged::test {

using nlohmann::json;

hosts::hosts(std::size_t count) : hosts{count, roomy()} {}

hosts::hosts(std::size_t count, const std::vector<std::string>& flags) {
  REQUIRE(etcd.start());
  for (std::size_t i = 0; i < count; ++i) {
    auto mine = flags;
    mine.insert(mine.end(),
                {"--store", "etcd://" + etcd.endpoint(0).text() + "/f",
                 "--node-name", "n" + std::to_string(i + 1)});
    for (const auto& each : listening(free_port()))
      mine.push_back(each);
    nodes.push_back(std::make_unique<test_node>(mine));
    REQUIRE(nodes.back()->start());
  }
  for (auto& each : nodes)
    REQUIRE(eventually(20s, [&] { return sees(*each, count); }));
}

hosts::~hosts() {
  for (auto& each : nodes)
    if (each->alive())
      ::kill(each->pid(), SIGCONT);
}

bool hosts::sees(const test_node& through, std::size_t count) const {
  const auto got = json::parse(
      through.caged({"node", "list", "--format", "json"}).out, nullptr, false);
  const auto rows = got.is_object() ? got.value("nodes", json::array()) : got;
  if (!rows.is_array())
    return false;
  const auto live =
      std::count_if(rows.begin(), rows.end(),
                    [](const json& each) { return each.value("live", false); });
  return static_cast<std::size_t>(live) == count;
}

std::string hosts::make_on(std::size_t owner, std::size_t through,
                           const std::string& name) {
  std::vector<std::string> flags = {"--node", "n" + std::to_string(owner + 1)};
  if (!name.empty())
    flags.insert(flags.end(), {"--name", name});
  return nodes[through]->up(flags);
}

std::string hosts::clear() {
  std::string left;
  for (auto& each : nodes)
    left += each->clear();
  return left;
}

} // namespace caged::test
