#include "nodes/templates/templates.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <set>
#include <sstream>

#include <fcntl.h>
#include <sys/stat.h>

#include "messages/sandbox.hpp"
#include "messages/text.hpp"
#include "nodes/oci/sys.hpp"

namespace caged::templates {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

/// Debian's busybox writes sizes as 300m and 4k; everybody else's head knows
/// K, M and G too. Only the number behind -c or -n is rewritten.
constexpr const char* head_wrapper = R"(#!/bin/sh
size() {
  case $1 in
    *[0-9]K) echo "${1%K}k" ;;
    *[0-9]M) echo "${1%M}m" ;;
    *[0-9]G) echo "$((${1%G} * 1024))m" ;;
    *) echo "$1" ;;
  esac
}
previous=
for argument; do
  shift
  case $previous:$argument in
    -[cn]:*) argument=$(size "$argument") ;;
    *:-[cn]?*) argument=${argument%"${argument#-?}"}$(size "${argument#-?}") ;;
  esac
  previous=$argument
  set -- "$@" "$argument"
done
exec /bin/busybox head "$@"
)";

constexpr auto no_busybox_hint = "install it: apt-get install busybox-static";

/// The daemon's umask keeps what it makes to itself; a sandbox has users who
/// are not root.
result<void> open_to_all(const fs::path& root) {
  std::error_code error;
  ::chmod(root.c_str(), 0755);
  for (const auto& item : fs::recursive_directory_iterator{root, error}) {
    if (item.is_symlink(error))
      continue;
    auto may_run = (item.status(error).permissions() & fs::perms::owner_exec)
                   != fs::perms::none;
    ::chmod(item.path().c_str(), may_run ? 0755 : 0644);
  }
  if (error)
    return fail(ec::io,
                "cannot read " + root.string() + ": " + error.message());
  for (const char* shared : {"tmp", "var/tmp"})
    ::chmod((root / shared).c_str(), 01777);
  ::chmod((root / "root").c_str(), 0700);
  return {};
}

result<void> fill(const fs::path& root) {
  fs::path busybox = "/bin/busybox";
  std::error_code error;
  if (!fs::exists(busybox, error))
    busybox = "/usr/bin/busybox";
  if (!fs::exists(busybox, error))
    return fail(ec::host_setup,
                "busybox, from which the template \"minimal\" is built, is "
                "missing",
                no_busybox_hint);
  auto applets = sys::run({busybox.string(), "--list-full"}, 10s);
  if (!applets || applets->status != 0)
    return fail(ec::host_setup, busybox.string() + " cannot list its applets",
                no_busybox_hint);
  for (auto dir : {"bin", "sbin", "usr/bin", "usr/sbin", "usr/lib/caged", "etc",
                   "root", "home", "tmp", "var/tmp", "var/log", "run", "proc",
                   "sys", "dev", "workspace", "mnt", "opt"}) {
    fs::create_directories(root / dir, error);
    if (error)
      return fail(ec::io, "cannot create " + (root / dir).string() + ": "
                              + error.message());
  }
  fs::copy_file(busybox, root / "bin/busybox", error);
  if (error)
    return fail(ec::io,
                "cannot copy " + busybox.string() + ": " + error.message());
  ::chmod((root / "bin/busybox").c_str(), 0755);
  std::istringstream names{applets->output};
  for (std::string name; names >> name;) {
    // The list has busybox itself: a link of that name would be a loop.
    if (fs::path{name}.filename() == "busybox" || name.find("..") != name.npos)
      continue;
    fs::create_directories((root / name).parent_path(), error);
    fs::create_symlink("/bin/busybox", root / name, error);
  }
  if (!fs::is_symlink(root / "bin/sh", error))
    return fail(ec::host_setup, busybox.string() + " has no shell",
                no_busybox_hint);
  fs::create_directories(root / "usr/local/bin", error);
  if (auto done =
          sys::write_file(root / "usr/local/bin/head", head_wrapper, 0755);
      !done)
    return done;
  // A link to a shared library would not start in there.
  const std::pair<const char*, const char*> files[] = {
      {"etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"
                     "nobody:x:65534:65534:nobody:/:/bin/false\n"},
      {"etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"},
      {"etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"},
      {"etc/resolv.conf", ""},
      {"etc/profile", "export PS1='\\u@\\h:\\w\\$ '\n"},
      {"etc/os-release", "ID=caged-minimal\nNAME=\"caged minimal\"\n"}};
  for (const auto& [name, text] : files)
    if (auto done = sys::write_file(root / name, text, 0644); !done)
      return done;
  return open_to_all(root);
}

result<void> build_minimal(const fs::path& templates) {
  std::error_code error;
  fs::create_directories(templates, error);
  auto fresh = templates / (".minimal." + random_name(8));
  fs::create_directories(fresh / "rootfs", error);
  if (error)
    return fail(ec::io,
                "cannot create " + fresh.string() + ": " + error.message());
  auto done = fill(fresh / "rootfs");
  if (done
      && ::renameat2(AT_FDCWD, fresh.c_str(), AT_FDCWD,
                     (templates / "minimal").c_str(), RENAME_NOREPLACE)
             < 0
      && errno != EEXIST) // EEXIST: another caller was faster, and is right
    done = fail_errno(ec::io, "cannot rename " + fresh.string(), errno);
  fs::remove_all(fresh, error);
  return done;
}

} // namespace

std::vector<std::string> list(const fs::path& data_dir) {
  std::set<std::string> names{"minimal"};
  std::error_code ignored;
  for (const auto& item :
       fs::directory_iterator{data_dir / "templates", ignored})
    if (is_valid_name(item.path().filename().string())
        && fs::is_directory(item.path() / "rootfs", ignored))
      names.insert(item.path().filename());
  return {names.begin(), names.end()};
}

result<fs::path> resolve(const fs::path& data_dir, const std::string& name) {
  auto root = data_dir / "templates" / name / "rootfs";
  std::error_code ignored;
  if (is_valid_name(name)) {
    if (fs::is_directory(root, ignored))
      return root;
    if (name == "minimal") {
      if (auto done = build_minimal(data_dir / "templates"); !done)
        return tl::unexpected<failure>(done.error());
      return root;
    }
  }
  std::string known;
  for (const auto& one : list(data_dir))
    known += (known.empty() ? "" : ", ") + one;
  return fail(ec::not_found, "there is no template " + caged::quoted(name),
              "this node has: " + known);
}

} // namespace caged::templates
