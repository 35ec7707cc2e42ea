#pragma once

#include <string>
#include <vector>

#include "cli/app_tree.hpp"
#include "messages/error.hpp"

/// The documents that are made from the program's own help (ops/docs).
namespace caged::cli {

/// The whole reference, docs/cli.md.
std::string reference_markdown(const verb_node& root);

/// Names of the manual pages: "caged", "caged-up", "caged-node-status".
std::vector<std::string> manual_pages(const verb_node& root);

/// One page, for man(7). Error: not_found.
result<std::string> manual_page(const verb_node& root, const std::string& name);

} // namespace caged::cli
