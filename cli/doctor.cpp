#include "cli/doctor.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <iostream>
#include <set>
#include <sstream>

#include <sys/statvfs.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cli/endpoint.hpp"
#include "cli/host_facts.hpp"
#include "cli/structured.hpp"
#include "cli/table.hpp"
#include "messages/text.hpp"

namespace caged::cli {

namespace fs = std::filesystem;

namespace {

constexpr const char* level_names[] = {"ok", "warn", "bad"};

std::string first_line(const fs::path& file) {
  auto text = host::read(file).value_or("");
  return escape_text(text.substr(0, text.find('\n')), 120);
}

std::set<std::string> words_of(const std::string& text) {
  std::istringstream in{text};
  std::set<std::string> out;
  for (std::string word; in >> word;)
    out.insert(word);
  return out;
}

std::string joined(const std::vector<std::string>& all) {
  std::string out;
  for (const auto& word : all)
    out += (out.empty() ? "" : ", ") + word;
  return out;
}

class examination {
public:
  explicit examination(const doctor_options& what)
      : what_{what},
        proc_{what.root / "proc"},
        release_{first_line(proc_ / "sys/kernel/osrelease")} {}

  finding root() const;
  finding kernel() const;
  finding namespaces() const;
  finding cgroups() const;
  finding crun() const;
  finding mkfs() const;
  finding busybox() const;
  finding file_systems() const;
  finding loop() const;
  finding disk() const;
  finding idmap() const;
  finding group() const;
  finding node() const;

private:
  /// The data directory, or what of its path is there.
  fs::path data() const {
    auto out = what_.root / fs::path{what_.data_dir}.relative_path();
    std::error_code error;
    while (!fs::exists(out, error) && out.has_relative_path())
      out = out.parent_path();
    return out;
  }

  const doctor_options& what_;
  fs::path proc_;
  std::string release_;
};

finding examination::root() const {
  if (!what_.privileged)
    return {"root", level::warn, "this is not root, so not all is seen",
            "run sudo caged doctor; caged-node needs root"};
  // user_namespaces(7): the initial one maps everything.
  auto map = words_of(host::read(proc_ / "self/uid_map").value_or(""));
  if (map.count("4294967295") == 0)
    return {"root", level::bad, "root of a user namespace only",
            "caged-node needs the host's root"};
  std::istringstream status{host::read(proc_ / "self/status").value_or("")};
  for (std::string line; std::getline(status, line);) {
    constexpr unsigned cap_sys_admin = 21; // linux/capability.h
    unsigned long long set = 0;
    if (std::sscanf(line.c_str(), "CapEff: %llx", &set) == 1
        && (set >> cap_sys_admin & 1) == 0)
      return {"root", level::bad, "root without CAP_SYS_ADMIN",
              "give the container that this runs in more rights"};
  }
  return {"root", level::ok, "this is root", ""};
}

finding examination::kernel() const {
  int major = 0, minor = 0;
  if (std::sscanf(release_.c_str(), "%d.%d", &major, &minor) != 2)
    return {"kernel", level::bad, "its version cannot be read", "mount /proc"};
  // overlayfs takes idmapped layers since 5.19 (kernelnewbies.org/Linux_5.19).
  if (major * 1000 + minor < 5019)
    return {"kernel", level::bad, "Linux " + release_,
            "5.19 or newer is needed, for overlay on idmapped mounts"};
  return {"kernel", level::ok, "Linux " + release_, ""};
}

finding examination::namespaces() const {
  std::vector<std::string> missing;
  for (const char* name : {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"})
    if (::access((proc_ / "self/ns" / name).c_str(), F_OK) != 0)
      missing.emplace_back(name);
  if (!missing.empty())
    return {"namespaces", level::bad,
            "the kernel has none of the kind: " + joined(missing),
            "boot a kernel that has them, such as Debian's"};
  auto most = first_line(proc_ / "sys/user/max_user_namespaces");
  if (most == "0")
    return {"namespaces", level::bad, "user namespaces are switched off",
            "sysctl user.max_user_namespaces=15000"};
  return {"namespaces", level::ok,
          "all seven kinds"
              + (most.empty() ? std::string{}
                              : ", " + most + " user namespaces at most"),
          ""};
}

finding examination::cgroups() const {
  auto top = what_.root / "sys/fs/cgroup";
  std::vector<std::string> missing;
  std::string layout;
  if (auto text = host::read(top / "cgroup.controllers")) {
    layout = "version 2";
    auto have = words_of(*text);
    for (const char* name : {"memory", "cpu", "pids"})
      if (have.count(name) == 0)
        missing.emplace_back(name);
  } else {
    std::error_code error;
    if (!fs::is_directory(top / "memory", error)
        && !fs::is_directory(top / "pids", error))
      return {"cgroups", level::bad, "none are mounted at /sys/fs/cgroup",
              "mount -t cgroup2 cgroup2 /sys/fs/cgroup"};
    layout = fs::exists(top / "unified/cgroup.controllers", error)
                 ? "version 1, hybrid"
                 : "version 1";
    for (const char* name : {"memory", "cpu", "cpuacct", "pids", "freezer"})
      if (!fs::exists(top / name / "cgroup.procs", error))
        missing.emplace_back(name);
  }
  if (!missing.empty())
    return {"cgroups", level::bad,
            layout + " without the controllers " + joined(missing),
            "look for cgroup_disable= in /proc/cmdline"};
  return {"cgroups", level::ok, layout + ", with every controller needed", ""};
}

finding examination::crun() const {
  auto path = host::find_program(what_.root, "crun");
  if (path.empty())
    return {"crun", level::bad, "it is missing", "apt-get install crun"};
  auto said = host::run({path.string(), "--version"});
  int major = 0, minor = 0;
  if (!said
      || std::sscanf(said->c_str(), "crun version %d.%d", &major, &minor) != 2)
    return {"crun", level::bad, path.string() + " does not say its version",
            "apt-get install --reinstall crun"};
  auto version = escape_text(said->substr(0, said->find('\n')), 60);
  if (major * 1000 + minor < 1004)
    return {"crun", level::bad, version, "1.4 or newer is needed"};
  return {"crun", level::ok, version, ""};
}

finding examination::mkfs() const {
  auto path = host::find_program(what_.root, "mkfs.ext4");
  if (path.empty())
    return {"mkfs.ext4", level::bad, "it is missing",
            "apt-get install e2fsprogs"};
  return {"mkfs.ext4", level::ok, path.string(), ""};
}

finding examination::busybox() const {
  std::error_code error;
  auto path = what_.root / "bin/busybox";
  if (!fs::exists(path, error))
    path = what_.root / "usr/bin/busybox";
  if (!fs::exists(path, error))
    return {"busybox", level::bad,
            "it is missing, and the template minimal is made from it",
            "apt-get install busybox-static"};
  auto alone = host::is_static(path);
  if (!alone || !*alone)
    return {"busybox", level::bad, path.string() + " is not static",
            "apt-get install busybox-static"};
  return {"busybox", level::ok, path.string() + ", static", ""};
}

finding examination::file_systems() const {
  auto known = words_of(host::read(proc_ / "filesystems").value_or(""));
  std::vector<std::string> missing, loadable;
  for (const char* name : {"overlay", "ext4", "tmpfs"})
    if (known.count(name) == 0)
      (host::has_module(what_.root, release_, name) ? loadable : missing)
          .emplace_back(name);
  if (!missing.empty())
    return {"file systems", level::bad, "the kernel has no " + joined(missing),
            "boot a kernel that has them, such as Debian's"};
  if (!loadable.empty())
    return {"file systems", level::ok,
            joined(loadable) + " will be loaded as modules", ""};
  return {"file systems", level::ok, "overlay, ext4, tmpfs", ""};
}

finding examination::loop() const {
  auto control = what_.root / "dev/loop-control";
  if (::access(control.c_str(), F_OK) == 0) {
    if (what_.privileged && ::access(control.c_str(), R_OK | W_OK) != 0)
      return {"loop devices", level::bad, "/dev/loop-control may not be opened",
              "give the container that this runs in the device"};
    return {"loop devices", level::ok, "/dev/loop-control is there", ""};
  }
  if (host::has_module(what_.root, release_, "loop"))
    return {"loop devices", level::ok, "loop will be loaded as a module", ""};
  return {"loop devices", level::bad, "there is no /dev/loop-control",
          "modprobe loop"};
}

finding examination::disk() const {
  struct statvfs info {};
  auto dir = data();
  if (::statvfs(dir.c_str(), &info) < 0)
    return {"disk", level::bad,
            dir.string() + " cannot be looked at: " + std::strerror(errno),
            "give another with --data-dir"};
  auto free =
      static_cast<double>(info.f_bavail) * static_cast<double>(info.f_frsize);
  constexpr double gb = 1024.0 * 1024.0 * 1024.0;
  auto text = format_bytes(free) + " free for " + what_.data_dir;
  if ((info.f_flag & ST_RDONLY) != 0)
    return {"disk", level::bad, dir.string() + " is read-only",
            "give another with --data-dir"};
  if (free < static_cast<double>(limits::disk_gb_min) * gb)
    return {"disk", level::bad, text,
            "the smallest sandbox may fill "
                + std::to_string(limits::disk_gb_min) + " GB: make room"};
  if (free < static_cast<double>(limits::disk_gb_default) * gb)
    return {"disk", level::warn, text,
            "a usual sandbox may fill "
                + std::to_string(limits::disk_gb_default) + " GB: make room"};
  return {"disk", level::ok, text, ""};
}

finding examination::idmap() const {
  if (!what_.privileged)
    return {"idmapped mounts", level::warn, "only root can try",
            "run sudo caged doctor"};
  auto dir = data();
  auto error = host::idmap_error(dir);
  if (error == 0)
    return {"idmapped mounts", level::ok, "they work for " + what_.data_dir,
            ""};
  auto found = "they fail for " + what_.data_dir + ": " + std::strerror(error);
  // mount_setattr(2): EINVAL when the file system does not support them.
  return {"idmapped mounts", level::bad, found,
          error == EINVAL
              ? "put the data directory on ext4, xfs or btrfs, see --data-dir"
              : "run it as the host's root, outside of a container"};
}

finding examination::group() const {
  std::istringstream lines{host::read(what_.root / "etc/group").value_or("")};
  for (std::string line; std::getline(lines, line);)
    if (line.rfind("caged:", 0) == 0) {
      auto members = line.substr(line.rfind(':') + 1);
      return {"group caged", level::ok,
              members.empty()
                  ? "it is there, without members"
                  : "as good as root are: " + escape_text(members, 200),
              ""};
    }
  return {"group caged", level::warn,
          "there is none, so root alone may use the node",
          "groupadd --system caged"};
}

finding examination::node() const {
  auto got = ask<api::node_status_reply>(what_.endpoint, api::node_status{},
                                         std::chrono::seconds(3));
  if (got)
    return {"node", level::ok,
            escape_text(got->node) + ", caged-node " + escape_text(got->version)
                + ", answers at " + what_.endpoint.text(),
            ""};
  const auto& why = got.error();
  // Nobody there is how a host looks before its first start; who is there and
  // silent is ill.
  auto connected = connection::open(what_.endpoint);
  return {"node", connected ? level::bad : level::warn, why.message, why.hint};
}

} // namespace

std::vector<finding> examine(const doctor_options& what) {
  examination on{what};
  return {on.root(),  on.kernel(),  on.namespaces(),   on.cgroups(), on.crun(),
          on.mkfs(),  on.busybox(), on.file_systems(), on.loop(),    on.disk(),
          on.idmap(), on.group(),   on.node()};
}

std::string show(const std::vector<finding>& findings, format as) {
  if (as != format::table) {
    auto checks = nlohmann::json::array();
    std::size_t bad = 0;
    for (const auto& one : findings) {
      bad += one.how == level::bad ? 1 : 0;
      checks.push_back({{"check", one.subject},
                        {"result", level_names[static_cast<int>(one.how)]},
                        {"found", one.found},
                        {"remedy", one.remedy}});
    }
    return dump({{"checks", checks}, {"bad", bad}}, as);
  }
  table out{{"RESULT", "CHECK", "FOUND"}};
  for (const auto& one : findings)
    out.add({level_names[static_cast<int>(one.how)], one.subject,
             one.found + (one.remedy.empty() ? "" : "; " + one.remedy)});
  return out.str(stdout_has_colour());
}

result<int> run_doctor(const common_options& with, doctor_options what) {
  what.endpoint = with.endpoint;
  what.privileged = ::geteuid() == 0;
  if (what.data_dir.empty() || what.data_dir.front() != '/')
    return fail(ec::bad_request, "the data directory "
                                     + caged::quoted(what.data_dir)
                                     + " is no absolute path");
  auto findings = examine(what);
  std::cout << show(findings, with.as);
  return std::any_of(findings.begin(), findings.end(),
                     [](const auto& one) { return one.how == level::bad; })
             ? 1
             : 0;
}

} // namespace caged::cli
