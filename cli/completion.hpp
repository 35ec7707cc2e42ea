#pragma once

#include <string>

#include "cli/app_tree.hpp"
#include "cli/verbs.hpp"

namespace caged::cli {

/// The completion script of a shell, "bash", "zsh" or "fish". It asks
/// `caged __complete sandboxes|nodes` for ids and names, of the endpoint on the
/// line.
std::string completion_script(const verb_node& root, const std::string& shell);

/// Ids and names of sandboxes or nodes, one a line, for those scripts: at most
/// half a second, and nothing at all when the node does not answer.
result<int> run_complete(const common_options& with, const std::string& what);

} // namespace caged::cli
