#pragma once

#include <memory>

#include "actors/store.hpp"
#include "nodes/etcd/options.hpp"

namespace caged {

/// A store in an etcd of version 3.4 or newer, over its JSON gateway, for a
/// fleet of several hosts. Nothing is sent to etcd yet: it may be away, then
/// calls give unavailable. Watchers: store_watchers.hpp. The destructor returns
/// within a call's time. Errors: those of check_options, and bad_request or io
/// for certificates that cannot be used.
result<std::unique_ptr<store>> open_etcd_store(const etcd_options& options);

} // namespace caged
