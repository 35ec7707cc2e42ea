#include "nodes/oci/bundle.hpp"

#include "messages/text.hpp"

#include <algorithm>

#include <nlohmann/json.hpp>

#include "nodes/oci/seccomp.hpp"

namespace caged::oci {

using nlohmann::json;

namespace {

json mount(const char* where, const char* type, const char* source,
           std::vector<std::string> options) {
  return {{"destination", where},
          {"type", type},
          {"source", source},
          {"options", std::move(options)}};
}

// What package managers and login programs need inside a user namespace. No
// SYS_ADMIN, SYS_PTRACE, MKNOD, NET_ADMIN, NET_RAW, AUDIT_WRITE, SYS_RESOURCE.
const json& capabilities() {
  static const json list = {
      "CAP_CHOWN",   "CAP_DAC_OVERRIDE", "CAP_FOWNER",
      "CAP_FSETID",  "CAP_KILL",         "CAP_SETGID",
      "CAP_SETUID",  "CAP_SETPCAP",      "CAP_NET_BIND_SERVICE",
      "CAP_SETFCAP", "CAP_SYS_CHROOT"};
  return list;
}

} // namespace

std::string host_name(const launch_request& request) {
  return request.spec.name.empty() ? request.id : request.spec.name;
}

std::string bundle_config(const launch_request& request,
                          const bundle_options& options) {
  const auto& spec = request.spec;
  auto memory = spec.memory_mb << 20U;
  json limits = {{"limit", memory}};
  if (options.limit_swap)
    limits["swap"] = memory; // of memory and swap together: no swap
  static const std::string seccomp = seccomp_base64();
  json ids = json::array(
      {{{"containerID", 0}, {"hostID", options.uid}, {"size", 65536}}});
  json config = {
      {"ociVersion", "1.0.2"},
      {"annotations", {{"run.oci.seccomp_bpf_data", seccomp}}},
      {"hostname", host_name(request)},
      {"root", {{"path", options.rootfs}, {"readonly", false}}},
      {"process",
       {{"terminal", false},
        {"user", {{"uid", 0}, {"gid", 0}}},
        {"args", {"/usr/lib/caged/caged-agent"}},
        {"env",
         {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
          "HOME=/root", "container=caged", "CAGED_WORKSPACE=" + spec.workdir,
          "CAGED_MEMORY_BYTES=" + std::to_string(memory),
          "CAGED_CPUS=" + std::to_string(spec.cpus),
          "CAGED_HEARTBEAT_INTERVAL="
              + format_duration(options.heartbeat_interval),
          "CAGED_METRICS_INTERVAL="
              + format_duration(options.metrics_interval)}},
        {"cwd", "/"},
        {"capabilities",
         {{"bounding", capabilities()},
          {"effective", capabilities()},
          {"permitted", capabilities()}}},
        // A core limit of 1 also keeps the host's core_pattern handler, which
        // would run as the host's root, from being started (core(5)).
        {"rlimits",
         {{{"type", "RLIMIT_NOFILE"},
           {"soft", options.files},
           {"hard", options.files}},
          {{"type", "RLIMIT_CORE"}, {"soft", 1}, {"hard", 1}}}},
        {"oomScoreAdj", options.oom_score_adj},
        {"noNewPrivileges", true}}},
      {"mounts",
       {mount("/proc", "proc", "proc", {"nosuid", "noexec", "nodev"}),
        mount("/dev", "tmpfs", "tmpfs",
              {"nosuid", "noexec", "mode=755", "size=64k"}),
        mount("/dev/pts", "devpts", "devpts",
              {"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620",
               "gid=5"}),
        mount("/dev/shm", "tmpfs", "shm",
              {"nosuid", "noexec", "nodev", "mode=1777"}),
        // No sysfs: it tells about the host's disks and firmware, and nothing
        // in a sandbox needs it.
        mount("/sys", "tmpfs", "tmpfs",
              {"nosuid", "noexec", "nodev", "ro", "size=4k", "mode=755"}),
        mount("/run/caged", "tmpfs", "tmpfs",
              {"nosuid", "noexec", "nodev", "size=64k", "nr_inodes=16",
               "mode=0700"})}},
      {"linux",
       {{"cgroupsPath", options.cgroup},
        {"uidMappings", ids},
        {"gidMappings", ids},
        {"namespaces",
         {{{"type", "user"}, {"path", options.user_namespace}},
          {{"type", "pid"}},
          {{"type", "mount"}},
          {{"type", "uts"}},
          {{"type", "ipc"}},
          {{"type", "network"}},
          {{"type", "cgroup"}}}},
        {"resources",
         {{"memory", limits},
          {"cpu", {{"quota", spec.cpus * 100000}, {"period", 100000}}},
          {"pids", {{"limit", spec.pids}}},
          {"devices", {{{"allow", false}, {"access", "rwm"}}}}}},
        {"maskedPaths",
         {"/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
          "/proc/key-users", "/proc/kmsg", "/proc/kallsyms",
          "/proc/latency_stats", "/proc/timer_list", "/proc/sched_debug",
          "/proc/scsi", "/proc/kpagecount", "/proc/kpageflags",
          "/proc/vmallocinfo", "/proc/mtrr"}},
        {"readonlyPaths",
         {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys",
          "/proc/sysrq-trigger"}}}}};
  return config.dump();
}

} // namespace caged::oci
