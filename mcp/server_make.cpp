#include "mcp/resources.hpp"
#include "mcp/server_impl.hpp"
#include "mcp/tools/families.hpp"

// The server as the program has it: every tool, on a real folder.
namespace caged::mcp {

namespace {

std::string instructions_for(const workspace& where,
                             const server_config& config) {
  auto out = "Tools for the files, the terminal and the git repository of one "
             "workspace, "
             + where.root()
             + ". Paths are relative to it or absolute beneath it; nothing "
               "outside can be reached.";
  if (config.read_only)
    out += " This server is read-only.";
  return out;
}

} // namespace

result<std::unique_ptr<server>> server::make(server_config config) {
  auto where = workspace::open(config.workspace);
  if (!where)
    return tl::unexpected(std::move(where.error()));
  auto self = std::make_unique<impl>(std::move(config), std::move(*where));
  contents what;
  const auto& folder = *self->where;
  add_file_tools(what.tools, folder, self->config);
  add_search_tools(what.tools, folder, self->config);
  add_terminal_tools(what.tools, folder, self->config);
  add_git_tools(what.tools, folder, self->config);
  what.resources = file_resources(folder, self->config);
  what.instructions = instructions_for(folder, self->config);
  self->fill(std::move(what));
  return std::unique_ptr<server>{new server{std::move(self)}};
}

} // namespace caged::mcp
