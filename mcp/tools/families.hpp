#pragma once

#include "mcp/config.hpp"
#include "mcp/tool.hpp"
#include "mcp/workspace.hpp"

namespace caged::mcp {

// Each adds its tools to a set. `where` and `config` must outlive the set. A
// read-only server leaves out tools that write (tool::writes).

/// file_read, file_write, file_edit, file_list, file_delete.
void add_file_tools(tool_set& tools, const workspace& where,
                    const server_config& config);
/// file_search.
void add_search_tools(tool_set& tools, const workspace& where,
                      const server_config& config);
/// terminal_exec, terminal_output, terminal_kill.
void add_terminal_tools(tool_set& tools, const workspace& where,
                        const server_config& config);
/// git_status, git_diff, git_log, git_commit.
void add_git_tools(tool_set& tools, const workspace& where,
                   const server_config& config);

} // namespace caged::mcp
