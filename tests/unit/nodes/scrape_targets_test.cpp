#include <catch2/catch.hpp>

#include <nlohmann/json.hpp>

#include "nodes/scrape_targets.hpp"

using namespace caged;
using nlohmann::json;

TEST_CASE("the address of metrics is one that other hosts can use") {
  struct row {
    const char *bound, *listen, *name, *says;
    bool in_vain;
  };
  for (const auto& each : std::vector<row>{
           {"10.0.0.1:9464", "", "h", "10.0.0.1:9464", false},
           {"10.0.0.1:9464", "tcp://10.0.0.2:7400", "h", "10.0.0.1:9464",
            false},
           {"0.0.0.0:9464", "tcp://10.0.0.2:7400", "h", "10.0.0.2:9464", false},
           {":9464", "tcp://10.0.0.2:7400", "h", "10.0.0.2:9464", false},
           {"[::]:9464", "tcp://[fd00::1]:7400", "h", "[fd00::1]:9464", false},
           {"[fd00::2]:9464", "tcp://[fd00::1]:7400", "h", "[fd00::2]:9464",
            false},
           // Nobody says an address: the host's name.
           {"0.0.0.0:9464", "tcp://*:7400", "h", "h:9464", false},
           {"0.0.0.0:9464", "tcp://127.0.0.1:7400", "h", "h:9464", false},
           {"0.0.0.0:9464", "", "h", "h:9464", false},
           {"0.0.0.0:9464", "", "", "0.0.0.0:9464", false},
           // Never another host's loopback; alone it is this one's.
           {"127.0.0.1:9464", "tcp://10.0.0.2:7400", "h", "10.0.0.2:9464",
            true},
           {"[::1]:9464", "tcp://10.0.0.2:7400", "h", "10.0.0.2:9464", true},
           {"127.0.0.1:9464", "", "h", "127.0.0.1:9464", false},
           {"127.0.0.1:9464", "tcp://127.0.0.1:7400", "h", "127.0.0.1:9464",
            false},
       }) {
    INFO(each.bound << " " << each.listen);
    CHECK(scrape_address(each.bound, each.listen, each.name) == each.says);
    CHECK(scraped_in_vain(each.bound, each.listen) == each.in_vain);
  }
}

TEST_CASE("labels of nodes become what Prometheus takes for names") {
  CHECK(scrape_label("zone") == "label_zone");
  CHECK(scrape_label("a.b/c-d_e9") == "label_a_b_c_d_e9");
  CHECK(scrape_label("\xc3\xa4") == "label___");
}

TEST_CASE("every node that says where its metrics are is a target, also a "
          "silent one") {
  CHECK(scrape_targets({}) == "[]");
  node_view live, silent, unknown;
  live.live = true;
  live.node.name = "one";
  live.node.version = "1.2";
  live.node.metrics = "10.0.0.1:9464";
  live.node.labels = {{"zone", "a\"\xff"}, {"a-b", "first"}, {"a.b", "second"}};
  silent.node.name = "two";
  silent.node.metrics = "10.0.0.2:9464";
  unknown.node.name = "old";
  const auto got = json::parse(scrape_targets({live, silent, unknown}));
  CHECK(got == json::parse(R"([
    {"targets": ["10.0.0.1:9464"],
     "labels": {"node": "one", "version": "1.2", "label_zone": "a\"\ufffd",
                "label_a_b": "first"}},
    {"targets": ["10.0.0.2:9464"], "labels": {"node": "two", "version": ""}}
  ])"));
}
