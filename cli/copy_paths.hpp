#pragma once

#include <string>
#include <string_view>

#include "messages/error.hpp"

/// The rules of names in `caged cp` and `caged files`. No system call here.
namespace caged::cli {

/// One end of a copy as it was typed.
struct copy_end {
  enum class place { local, inside, stream };
  place where = place::local;
  std::string sandbox; ///< of inside alone
  std::string path;    ///< never empty but for stream
};

/// "-", "SANDBOX:PATH" or a local path. As scp and docker cp have it, a colon
/// makes a sandbox unless a slash comes before it: "./a:b" is local.
copy_end parse_copy_end(const std::string& text);

/// As it was typed, for messages.
std::string to_text(const copy_end& end);

/// A path that no command takes for an option or for stdin: "." for an empty
/// one, and "./" before every relative one.
std::string safe_path(std::string_view path);

/// Without the slashes at the end; "/" stays.
std::string strip_slashes(std::string_view path);

/// Whether only a directory can be meant: "a/", ".", "a/..".
bool names_directory(std::string_view path);

/// The last component; empty when the path names contents rather than a name
/// ("/", ".", "a/..").
std::string last_name(std::string_view path);

/// What is before the last component: "." or "/" when nothing is.
std::string parent_of(std::string_view path);

/// What is at a destination.
enum class there { missing, nowhere, file, directory, other, dangling };

/// Where one source goes: as `name` into `directory`; without a name its
/// contents go there.
struct copy_target {
  std::string directory, name;
};

/// The rules of cp -r. `shown` is the destination for messages, `path` what
/// was typed. Errors: bad_request, not_found.
result<copy_target> choose_target(const std::string& shown,
                                  const std::string& path, there dst,
                                  const std::string& source_name,
                                  bool source_is_directory, bool several);

/// The name of an archive's entry below the directory that was asked for; "."
/// for itself. Error: denied, for an absolute name and one with "..".
result<std::string> name_below(std::string_view entry);

/// Whether a symbolic link whose own name is `name` (of name_below) can only
/// lead to what is below the same directory: ".." leads to parents that the
/// tree has, and comes before all else. By induction no chain of such links
/// leaves the tree.
bool link_stays_below(std::string_view name, std::string_view target);

} // namespace caged::cli
