#pragma once

#include "mcp/config.hpp"
#include "mcp/contents.hpp"
#include "mcp/workspace.hpp"

namespace caged::mcp {

/// The files of a workspace as file:// resources, links left out. Both must
/// outlive it.
std::unique_ptr<resource_source> file_resources(const workspace& where,
                                                const server_config& config);

} // namespace caged::mcp
