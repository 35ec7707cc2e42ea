#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "messages/error.hpp"

/// Root file systems that sandboxes start from: DATA/templates/NAME/rootfs,
/// owned by root, never written to by a sandbox. An administrator may put more
/// of them there.
namespace caged::templates {

/// The rootfs of a template; "minimal" is built at first use from Debian's
/// busybox-static, in one rename, so that concurrent callers and a crash in
/// between do no harm. Errors: not_found (naming those that exist), host_setup.
result<std::filesystem::path> resolve(const std::filesystem::path& data_dir,
                                      const std::string& name);

/// Names that resolve() knows, sorted; "minimal" always is one.
std::vector<std::string> list(const std::filesystem::path& data_dir);

} // namespace caged::templates
