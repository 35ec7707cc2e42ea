#pragma once

#include <string>
#include <vector>

#include "messages/client_api.hpp"

/// How answers look: a table for people or JSON for programs. Every text ends
/// with a newline.
namespace caged::cli {

enum class format { table, json };

std::string show(const std::vector<sandbox_info>& sandboxes, format as);
std::string show(const sandbox_info& sandbox, format as);
std::string show(const api::get_reply& reply, format as);
std::string show(const api::why_reply& reply, format as);
std::string show(const api::node_status_reply& reply, format as);
std::string show(const api::audit_reply& reply, format as);

} // namespace caged::cli
