#include <catch2/catch.hpp>

#include <nlohmann/json.hpp>

#include "cli/node.hpp"

using namespace caged;
using namespace caged::cli;
using nlohmann::json;

namespace {

api::node_info one() {
  api::node_info out;
  out.id = "n-1";
  out.name = "worker-1";
  out.version = "0.1.0";
  out.address = "tcp://10.0.0.1:7400";
  out.labels = {{"zone", "a"}, {"disk", "fast"}};
  out.networks = {"none", "full"};
  out.live = true;
  out.cpus_total = 16;
  out.cpus_reserved = 4;
  out.memory_mb_total = 8192;
  out.memory_mb_reserved = 1024;
  out.disk_gb_total = 200;
  out.disk_gb_reserved = 10;
  out.sandboxes = 2;
  return out;
}

} // namespace

TEST_CASE("nodes are shown as a table with what is reserved of what there is") {
  auto two = one();
  two.name = "worker-2";
  two.live = false;
  two.cordoned = true;
  two.address.clear();
  CHECK(
      show(api::node_list_reply{{one(), two}}, format::table)
      == "NAME      STATUS         VERSION  CPUS  MEMORY        DISK       "
         "SANDBOXES  ADDRESS\n"
         "worker-1  ready          0.1.0    4/16  1024/8192 MB  10/200 GB  2  "
         "        tcp://10.0.0.1:7400\n"
         "worker-2  lost,cordoned  0.1.0    4/16  1024/8192 MB  10/200 GB  2  "
         "        -\n");
  const auto rows =
      json::parse(show(api::node_list_reply{{one(), two}}, format::json));
  REQUIRE(rows.size() == 2);
  CHECK(rows[0]["status"] == "ready");
  CHECK(rows[0]["labels"]["zone"] == "a");
  CHECK(rows[1]["live"] == false);
  CHECK(show(api::node_list_reply{}, format::json) == "[]\n");
}

TEST_CASE(
    "a node is shown with everything, and nothing of it moves a terminal") {
  auto node = one();
  node.cordoned = true;
  node.cordoned_by = "key:a\x1b[2J";
  const auto text = show(node, format::table);
  INFO(text);
  CHECK(text.find("labels      disk=fast,zone=a\n") != std::string::npos);
  CHECK(text.find("networks    none,full\n") != std::string::npos);
  CHECK(text.find("memory      1024/8192 MB reserved\n") != std::string::npos);
  CHECK(text.find("status      ready,cordoned by key:a") != std::string::npos);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(json::parse(show(node, format::json))["cordoned_by"]
        == node.cordoned_by);
}
