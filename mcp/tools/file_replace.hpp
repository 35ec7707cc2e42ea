#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <sys/stat.h>

#include "mcp/workspace.hpp"
#include "messages/error.hpp"

namespace caged::mcp {

/// The folder and name of a file that is to be replaced or made. A link is
/// followed to what it points to, so that it stays a link. Missing folders are
/// made where `create_dirs`. Errors: as workspace::parent_of; bad_request for a
/// path that ends in "/".
result<workspace::place> find_target(const workspace& where,
                                     std::string_view path, bool create_dirs);
/// What is there now, and whether that is what the caller saw
/// (`expected_version`; "none": no file). Errors: conflict; bad_request where
/// no file can be written; denied for a file without write permission.
result<std::optional<struct stat>>
look_at(const workspace::place& at, std::string_view path,
        const std::optional<std::string>& expected_version);

/// Replaces the file by one with these bytes, or makes it: a temporary file in
/// the same folder, renamed. No fsync: readers see the old file or the new one,
/// a power cut may lose both. Owner and permissions of `now` are kept (set-ID
/// bits are not, as with write(2)); extended attributes and ACLs are not, and
/// other hard links keep the old content. `mode` overrides. Returns what
/// fstat(2) says of the new file. Nothing is left behind on errors.
result<struct stat> replace_file(const workspace::place& at,
                                 std::string_view path, std::string_view bytes,
                                 const std::optional<struct stat>& now,
                                 std::optional<mode_t> mode);

} // namespace caged::mcp
