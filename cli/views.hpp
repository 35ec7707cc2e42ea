#pragma once

#include <string>
#include <vector>

#include "messages/client_api.hpp"

/// How answers look: a table for people, JSON or YAML for programs. Every text
/// ends with a newline.
namespace caged::cli {

enum class format { table, json, yaml };

std::string show(const std::vector<sandbox_info>& sandboxes, format as);
std::string show(const sandbox_info& sandbox, format as);
std::string show(const api::get_reply& reply, format as);
std::string show(const api::why_reply& reply, format as);
std::string show(const api::ps_reply& reply, format as);
/// One of a stream: a line of text or JSON, a document of YAML.
std::string show(const api::event& event, format as);
/// JSON or YAML.
std::string show(const std::vector<api::get_reply>& replies, format as);
std::string show(const api::node_status_reply& reply, format as);
std::string show(const api::audit_reply& reply, format as);
std::string show(const api::shutdown_reply& reply, format as);
/// As a table: the secret alone.
std::string show(const api::token_reply& reply, format as);
std::string show(const api::token_list_reply& reply, format as);
std::string show_version(format as);
/// What is to be known about an answer, on stderr; nothing when it is empty.
void say_notice(const std::string& text);

} // namespace caged::cli
