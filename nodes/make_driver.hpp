#pragma once

#include <memory>
#include <string>

#include "actors/runtime.hpp"
#include "messages/error.hpp"
#include "nodes/config.hpp"

namespace caged {

/// The runtime driver that the configuration asks for. Sets `cgroups` to the
/// host's layout: "v1", "hybrid", "v2" or "none". Errors: of the driver.
result<std::unique_ptr<runtime>> make_driver(const node_config& config,
                                             const std::string& node_id,
                                             std::string& cgroups);

} // namespace caged
