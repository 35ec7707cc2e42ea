#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

/// Small reads of the host, beneath a root that tests may move.
namespace caged::cli::host {

/// At most 64 KB of a file; nothing when it cannot be read.
std::optional<std::string> read(const std::filesystem::path& file);

/// Output of a program, stdout alone, 64 KB and 5 s at most; nothing when it
/// cannot be run or fails.
std::optional<std::string> run(const std::vector<std::string>& argv);

/// Path of a program in the directories that the node searches; empty when it
/// is in none.
std::filesystem::path find_program(const std::filesystem::path& root,
                                   const std::string& name);

/// Whether an ELF program needs no loader (no PT_INTERP, elf(5)); nothing when
/// the file is no ELF program of 64 bits.
std::optional<bool> is_static(const std::filesystem::path& program);

/// Whether the kernel that runs has the module on disk or built in.
bool has_module(const std::filesystem::path& root, const std::string& release,
                const std::string& name);

/// Whether the file system of a directory can be shown with other owners
/// (mount_setattr(2), MOUNT_ATTR_IDMAP): tried on a detached mount that nobody
/// sees. 0, or errno.
int idmap_error(const std::filesystem::path& directory);

} // namespace caged::cli::host
