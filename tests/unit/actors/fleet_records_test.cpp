#include "actors/fleet_records.hpp"

#include <catch2/catch.hpp>

using namespace caged;

TEST_CASE("records of the fleet are read as they were written") {
  node_record node;
  node.id = "node-1";
  node.name = "one";
  node.version = "1.2";
  node.address = "tcp://10.0.0.1:7400";
  node.public_key = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID";
  node.metrics = "10.0.0.1:9464";
  node.runtime = "oci";
  node.networks = {"none", "full"};
  node.labels = {{"zone", "a"}, {"disk", "\"fast\"\n"}};
  node.total = {8, 16384, 100};
  CHECK(decode_node("node-1", encode(node)) == node);

  const reserved_record reserved{{3, 4096, 12}, 2};
  CHECK(decode_reserved(encode(reserved)) == reserved);

  placement_record placement;
  placement.sandbox = "cage-abc12345";
  placement.node = "node-1";
  placement.owner = "uid:0";
  placement.name = "web";
  placement.request_id = "11111111-2222-3333-4444-555555555555";
  placement.digest = 0xFFFFFFFFFFFFFFFFULL;
  placement.takes = {2, 512, 5};
  placement.created_ms = 1'796'000'000'000;
  CHECK(decode_placement("cage-abc12345", encode(placement)) == placement);

  const gone_request gone{
      "cage-abc12345",       "node-1",         "one", 0xFFFFFFFFFFFFFFFFULL,
      "everything is freed", 1'796'000'000'000};
  CHECK(decode_gone_request(encode(gone)) == gone);
}

TEST_CASE("a record of the fleet that is none is refused, member by member") {
  const std::string good = encode(reserved_record{{3, 4096, 12}, 2});
  REQUIRE(decode_reserved(good));
  for (
      const char* bad :
      {"", "n1", "[]", "null", "{", "{}", R"({"used":1,"sandboxes":1})",
       R"({"used":{"cpus":1,"memory_mb":1},"sandboxes":1})",
       R"({"used":{"cpus":-1,"memory_mb":1,"disk_gb":1},"sandboxes":1})",
       R"({"used":{"cpus":1.5,"memory_mb":1,"disk_gb":1},"sandboxes":1})",
       R"({"used":{"cpus":5000000000,"memory_mb":1,"disk_gb":1},"sandboxes":1})",
       R"({"used":{"cpus":1,"memory_mb":1e30,"disk_gb":1},"sandboxes":1})",
       R"({"used":{"cpus":1,"memory_mb":1,"disk_gb":1},"sandboxes":"1"})"}) {
    INFO(bad);
    const auto got = decode_reserved(bad);
    REQUIRE_FALSE(got);
    CHECK(got.error().code == ec::malformed);
  }
  CHECK_FALSE(decode_gone_request("cage-abc12345")); // its sandbox is there
  CHECK_FALSE(decode_gone_request(encode(gone_request{})));
  CHECK_FALSE(decode_placement("cage-abc12345", "n1"));
  CHECK_FALSE(decode_placement("elsewhere", encode(placement_record{})));
  CHECK_FALSE(decode_node("node-1", R"({"name":"one"})"));
}

TEST_CASE("a node of an earlier version, which names no metrics, is read") {
  node_record node;
  node.id = node.name = "one";
  auto text = encode(node);
  const std::string member = R"("metrics":"",)";
  REQUIRE(text.find(member) != std::string::npos);
  text.erase(text.find(member), member.size());
  CHECK(decode_node("one", text) == node);
  text.insert(1, R"("metrics":7,)");
  CHECK_FALSE(decode_node("one", text));
}

TEST_CASE("a record with members that are not known yet is read") {
  auto text = encode(reserved_record{{3, 4096, 12}, 2});
  text.pop_back();
  text += R"(,"later":[1,{"a":2}]})";
  CHECK(decode_reserved(text) == reserved_record{{3, 4096, 12}, 2});
}

TEST_CASE("keys of the fleet name what they are of") {
  CHECK(node_key("n", "info") == "nodes/n/info");
  CHECK(node_of_key("nodes/n/info", "info") == "n");
  CHECK(node_of_key("nodes/n/live", "info").empty());
  CHECK(node_of_key("nodes/n/x/info", "info").empty());
  CHECK(node_of_key("nodes/info", "info").empty());
  CHECK(node_of_key("placements/n/info", "info").empty());
  CHECK(placement_key("cage-abc12345") == "placements/cage-abc12345");
  CHECK(name_key("uid:0", "web") == "names/uid:0/web");
}
