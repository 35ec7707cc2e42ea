#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "actors/lifecycle.hpp"
#include "messages/error.hpp"

/// What the store knows about nodes and sandboxes, and under which keys. Values
/// are JSON, so that `etcdctl get --prefix` can be read; readers trust nothing
/// and pass over members that they do not know. Errors: malformed.
namespace caged {

/// "nodes/ID/info": what a node says of itself when it starts.
struct node_record {
  std::string id;   ///< as in its data directory; part of the key
  std::string name; ///< for people; unique in the fleet
  std::string version;
  std::string address; ///< "tcp://HOST:7400" of its client port; may be empty
  std::string public_key; ///< CURVE, Z85; empty without an address
  std::string metrics; ///< "10.0.0.1:9464" for Prometheus elsewhere; or empty
  std::string runtime; ///< "oci"
  std::vector<std::string> networks; ///< modes that it offers: "none"
  std::map<std::string, std::string> labels;
  capacity total;

  friend bool operator==(const node_record&, const node_record&) = default;
};

/// "nodes/ID/reserved": what its placements may use in all. Changed only in one
/// commit with them, compared by revision: no two can book the same place.
struct reserved_record {
  capacity used;
  std::uint32_t sandboxes = 0;

  friend bool operator==(const reserved_record&,
                         const reserved_record&) = default;
};

/// "nodes/ID/offers": what a node has ready, as it changes. Hints: a node that
/// says nothing is not refused.
struct offers_record {
  std::set<std::string> templates;
  std::map<std::string, unsigned> ready; ///< members of its pool, by template

  friend bool operator==(const offers_record&, const offers_record&) = default;
};

/// "placements/ID": this sandbox exists, and where.
struct placement_record {
  std::string sandbox; ///< id; part of the key
  std::string node;    ///< id of the node
  std::string owner;
  std::string name;       ///< may be empty
  std::string request_id; ///< of its `up`
  std::uint64_t digest = 0;
  capacity takes; ///< booked in the node's "reserved"
  std::int64_t created_ms = 0;

  friend bool operator==(const placement_record&,
                         const placement_record&) = default;
};

/// "requests/OWNER/ID", when the sandbox that this `up` made is destroyed: what
/// a repeat is answered. (While it is there the value is its id.)
struct gone_request {
  std::string sandbox;
  std::string node;      ///< id of the node that had it, and sweeps this
  std::string node_name; ///< as its answers name it
  std::uint64_t digest = 0;
  std::string cause; ///< the last one's text
  std::int64_t gone_ms = 0;

  friend bool operator==(const gone_request&, const gone_request&) = default;
};

// Keys. "nodes/ID/live" is there while the node is: under its lease, the value
// is of no meaning. "nodes/ID/cordon" is there while it takes no new sandboxes;
// the value says who wanted that.
std::string node_key(std::string_view id, std::string_view what);
std::string placement_key(std::string_view sandbox);
/// There for good once a node was removed, until a host joins under that id
/// again: the node does not come back by itself. The value says who wanted it.
std::string removed_key(std::string_view node);
/// The value is the sandbox's id.
std::string name_key(std::string_view owner, std::string_view name);
/// Of an `up`: the value is the id of the sandbox that it made, or a
/// gone_request.
std::string request_key(std::string_view owner, std::string_view request_id);
/// The id in "nodes/ID/WHAT"; empty when it is no such key.
std::string_view node_of_key(std::string_view key, std::string_view what);

std::string encode(const node_record& what);
std::string encode(const reserved_record& what);
std::string encode(const offers_record& what);
std::string encode(const placement_record& what);
std::string encode(const gone_request& what);
result<node_record> decode_node(std::string_view id, std::string_view value);
result<reserved_record> decode_reserved(std::string_view value);
result<offers_record> decode_offers(std::string_view value);
result<placement_record> decode_placement(std::string_view sandbox,
                                          std::string_view value);
result<gone_request> decode_gone_request(std::string_view value);

} // namespace caged
