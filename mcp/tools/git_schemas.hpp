#pragma once

#include "mcp/tool.hpp"

namespace caged::mcp::git {

// What clients are told about the git tools: names, texts and schemas, without
// `run`.
tool status_tool();
tool diff_tool();
tool log_tool();
tool commit_tool(bool hooks);

} // namespace caged::mcp::git
