#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "cli/verbs.hpp"

/// .caged.yaml: what `caged up` makes in a project, without flags.
namespace caged::cli {

inline constexpr const char* project_file_name = ".caged.yaml";

/// The file that counts in a directory: its own, else the nearest one above, up
/// to and with the root of the repository (where .git is) or `home`. Outside of
/// both, the directory's own alone: nobody else's file is picked up.
std::optional<std::filesystem::path>
find_project_file(const std::filesystem::path& from,
                  const std::filesystem::path& home);

/// Reads the file into the options of up, except what a flag has set: `given`
/// says whether one ("--cpus", or "command") was on the line. env and labels
/// are put beneath those of the flags, key by key. Errors: bad_request,
/// too_large; each begins with file:line and names the limit.
result<void> read_project_file(const std::filesystem::path& file,
                               up_options& to,
                               const std::function<bool(std::string)>& given);

} // namespace caged::cli
