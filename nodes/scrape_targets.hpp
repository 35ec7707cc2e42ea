#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "actors/scheduler.hpp"

/// Where Prometheus finds the metrics of each node.
namespace caged {

/// The address that other hosts are to ask, "10.0.0.1:9464": that of the
/// metrics port as `bound`, or, where it says nothing about this host
/// ("0.0.0.0:9464") or is loopback, its port at the address of `listen`
/// ("tcp://10.0.0.1:7400"; empty: none). Where that says nothing either,
/// `host_name` stands for a wildcard, and loopback stays: then it is for this
/// host's own Prometheus alone. To say "127.0.0.1" to another host would make
/// that host read its own metrics under this node's name.
std::string scrape_address(const std::string& bound, const std::string& listen,
                           const std::string& host_name);

/// Whether the metrics port at `bound` cannot be reached at scrape_address().
bool scraped_in_vain(const std::string& bound, const std::string& listen);

/// A name of a label that Prometheus takes: what is no letter, digit or _
/// becomes _ (its data model), behind "label_".
std::string scrape_label(std::string_view name);

/// JSON of Prometheus' HTTP service discovery
/// (https://prometheus.io/docs/prometheus/latest/http_sd/): one group a node
/// that says where its metrics are, silent ones too, so that `up` is 0 for
/// them. Labels: node, version, and the node's own as label_NAME; of two that
/// become one name the first in their order.
std::string scrape_targets(const std::vector<node_view>& nodes);

} // namespace caged
