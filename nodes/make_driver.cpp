#include "nodes/make_driver.hpp"

#include <cstdint>
#include <utility>

#include "nodes/cgroup/cgroup.hpp"
#include "nodes/fake/fake_driver.hpp"
#include "nodes/oci/oci_driver.hpp"

namespace caged {

namespace {

/// Several nodes on one kernel (tests) must not share uids: 40 ranges of 1200
/// sandboxes each, between 1.0 and 4.2 thousand million.
std::uint32_t uid_base_of(const std::string& node_id) {
  std::uint32_t hash = 2166136261u; // FNV-1a
  for (char c : node_id)
    hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return 1'000'000'000u + hash % 40u * (1200u * 65536u);
}

} // namespace

result<std::unique_ptr<runtime>> make_driver(const node_config& config,
                                             const std::string& node_id,
                                             std::string& cgroups) {
  switch (cgroup::detect()) {
  case cgroup::layout::v1:
    cgroups = "v1";
    break;
  case cgroup::layout::hybrid:
    cgroups = "hybrid";
    break;
  case cgroup::layout::v2:
    cgroups = "v2";
    break;
  default:
    cgroups = "none";
  }
  if (config.runtime == "fake") {
    fake_options options;
    options.node_id = node_id;
    options.data_dir = config.data_dir;
    options.run_dir = config.run_dir;
    options.agent = config.agent_dir / "caged-agent";
    return make_fake_driver(std::move(options));
  }
  oci_options options;
  options.node_id = node_id;
  options.data_dir = config.data_dir;
  options.run_dir = config.run_dir;
  options.agent_binary_dir = config.agent_dir;
  options.crun = config.crun;
  options.heartbeat_interval = config.heartbeat_interval;
  options.metrics_interval = config.metrics_interval;
  options.uid_base = uid_base_of(node_id);
  return make_oci_driver(std::move(options));
}

} // namespace caged
