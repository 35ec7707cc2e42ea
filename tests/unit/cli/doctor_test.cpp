#include <catch2/catch.hpp>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include <unistd.h>

#include <nlohmann/json.hpp>

#include "cli/doctor.hpp"
#include "cli/host_facts.hpp"

using namespace caged;
using namespace caged::cli;
namespace fs = std::filesystem;

namespace {

/// A host that lacks nothing, to take things away from.
struct fake_host {
  fs::path root;
  doctor_options options;

  fake_host() {
    char name[] = "/tmp/caged-host-XXXXXX";
    root = ::mkdtemp(name);
    options.root = root;
    options.endpoint = "ipc://" + (root / "no.sock").string();
    write("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n");
    write("proc/self/uid_map", "         0          0 4294967295\n");
    write("proc/self/status", "Name:\tcaged\nCapEff:\t000001ffffffffff\n");
    for (const char* kind :
         {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup"})
      write(fs::path{"proc/self/ns"} / kind, "");
    write("proc/sys/user/max_user_namespaces", "1000\n");
    write("proc/filesystems", "nodev\ttmpfs\n\text4\nnodev\toverlay\n");
    write("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n");
    write("dev/loop-control", "");
    write("etc/group", "root:x:0:\ncaged:x:990:ann,bob\n");
    program("crun", "echo crun version 1.8.1; echo commit: x");
    program("mkfs.ext4", "true");
    // Static, as every loader is: it is what the others name.
    fs::create_directories(root / "bin");
    fs::copy_file(fs::canonical("/lib64/ld-linux-x86-64.so.2"),
                  root / "bin/busybox");
    fs::create_directories(root / "var/lib");
  }
  ~fake_host() { fs::remove_all(root); }

  void write(const fs::path& name, const std::string& text) const {
    fs::create_directories((root / name).parent_path());
    std::ofstream{root / name} << text;
  }
  void program(const std::string& name, const std::string& body) const {
    write("usr/bin/" + name, "#!/bin/sh\n" + body + "\n");
    fs::permissions(root / "usr/bin" / name, fs::perms{0755});
  }
  finding look(const std::string& subject) const {
    for (const auto& one : examine(options))
      if (one.subject == subject)
        return one;
    FAIL("nothing is said about " << subject);
    return {};
  }
  bool is(const std::string& subject, level how,
          const std::string& words = {}) const {
    auto one = look(subject);
    INFO(one.found << "; " << one.remedy);
    CHECK((one.how == level::ok) == one.remedy.empty());
    CHECK((one.found + "; " + one.remedy).find(words) != std::string::npos);
    return one.how == how;
  }
};

} // namespace

TEST_CASE("the doctor finds nothing bad on a host that has all") {
  fake_host host;
  for (const auto& one : examine(host.options)) {
    INFO(one.subject << ": " << one.found << "; " << one.remedy);
    // Whether this machine may make mapped mounts is another matter.
    if (one.subject != "idmapped mounts" && one.subject != "disk")
      CHECK(one.how == (one.subject == "node" ? level::warn : level::ok));
  }
  CHECK(host.is("group caged", level::ok, "ann,bob"));
  CHECK(host.is("cgroups", level::ok, "version 2"));
}

TEST_CASE("the doctor names each thing that a host lacks") {
  fake_host host;
  host.write("proc/self/uid_map", "0 1000 1\n");
  CHECK(host.is("root", level::bad, "user namespace"));
  host.write("proc/self/uid_map", "0 0 4294967295\n");
  host.write("proc/self/status", "CapEff:\t00000000a80425fb\n");
  CHECK(host.is("root", level::bad, "CAP_SYS_ADMIN"));
  host.write("proc/sys/kernel/osrelease", "5.10.0\n");
  CHECK(host.is("kernel", level::bad, "5.19"));
  host.write("proc/sys/user/max_user_namespaces", "0\n");
  CHECK(host.is("namespaces", level::bad, "max_user_namespaces"));
  fs::remove(host.root / "proc/self/ns/cgroup");
  CHECK(host.is("namespaces", level::bad, "cgroup"));
  host.write("sys/fs/cgroup/cgroup.controllers", "cpu\n");
  CHECK(host.is("cgroups", level::bad, "memory, pids"));
  host.program("crun", "echo crun version 1.3");
  CHECK(host.is("crun", level::bad, "1.4"));
  host.program("crun", "exit 1");
  CHECK(host.is("crun", level::bad, "version"));
  fs::remove(host.root / "usr/bin/crun");
  CHECK(host.is("crun", level::bad, "apt-get install crun"));
  fs::remove(host.root / "usr/bin/mkfs.ext4");
  CHECK(host.is("mkfs.ext4", level::bad, "e2fsprogs"));
  fs::remove(host.root / "bin/busybox");
  CHECK(host.is("busybox", level::bad, "busybox-static"));
  fs::copy_file("/proc/self/exe", host.root / "bin/busybox");
  CHECK(host.is("busybox", level::bad, "not static"));
  fs::remove(host.root / "dev/loop-control");
  CHECK(host.is("loop devices", level::bad, "modprobe loop"));
  host.write("proc/filesystems", "\text4\nnodev\ttmpfs\n");
  CHECK(host.is("file systems", level::bad, "overlay"));
  host.write("etc/group", "uncaged:x:1:\n");
  CHECK(host.is("group caged", level::warn, "groupadd"));
}

TEST_CASE(
    "the doctor knows modules that will be loaded, and cgroup version 1") {
  fake_host host;
  host.write("proc/sys/kernel/osrelease", "6.1.0\n");
  host.write("lib/modules/6.1.0/modules.dep",
             "kernel/fs/overlayfs/overlay.ko: a\n"
             "kernel/drivers/block/loop.ko.xz:\n");
  host.write("proc/filesystems", "\text4\nnodev\ttmpfs\n");
  fs::remove(host.root / "dev/loop-control");
  CHECK(host.is("file systems", level::ok, "overlay"));
  CHECK(host.is("loop devices", level::ok, "module"));
  fs::remove_all(host.root / "sys/fs/cgroup");
  CHECK(host.is("cgroups", level::bad, "none"));
  for (const char* name : {"memory", "cpu", "cpuacct", "pids"})
    host.write(fs::path{"sys/fs/cgroup"} / name / "cgroup.procs", "");
  CHECK(host.is("cgroups", level::bad, "freezer"));
  host.write("sys/fs/cgroup/freezer/cgroup.procs", "");
  CHECK(host.is("cgroups", level::ok, "version 1"));
  host.write("sys/fs/cgroup/unified/cgroup.controllers", "");
  CHECK(host.is("cgroups", level::ok, "hybrid"));
}

TEST_CASE("the doctor without root says that it does not see all") {
  fake_host host;
  host.options.privileged = false;
  CHECK(host.is("root", level::warn, "sudo"));
  CHECK(host.is("idmapped mounts", level::warn, "root"));
}

TEST_CASE("the doctor's findings are lines for people and json for programs") {
  std::vector<finding> all{{"crun", level::bad, "it is missing", "get it"},
                           {"kernel", level::ok, "Linux 6.1", ""}};
  auto text = show(all, format::table);
  CHECK(text.find("bad     crun    it is missing; get it\n")
        != std::string::npos);
  CHECK(std::count(text.begin(), text.end(), '\n') == 3);
  auto json = nlohmann::json::parse(show(all, format::json));
  CHECK(json["bad"] == 1);
  CHECK(json["checks"][0]["result"] == "bad");
  CHECK(json["checks"][1]["check"] == "kernel");
}
