#include "nodes/oci/oci_driver.hpp"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <sstream>

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "messages/text.hpp"
#include "nodes/cgroup/cgroup.hpp"
#include "nodes/oci/bundle.hpp"
#include "nodes/oci/disk_image.hpp"
#include "nodes/oci/launcher.hpp"
#include "nodes/oci/names.hpp"
#include "nodes/oci/watch.hpp"
#include "nodes/templates/templates.hpp"

namespace caged {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using namespace caged::oci;

namespace {

/// A start passes about 15 descriptors; clients, links and readings of what
/// runs already must not run out because of it.
constexpr unsigned descriptor_reserve = 64;
/// Disk layers are sparse: what is left is what those there may still write.
constexpr std::uint64_t disk_reserve = 64ULL << 20U;

std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos)
    return ::access(name.c_str(), X_OK) == 0 ? name : std::string{};
  std::istringstream dirs{"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
                          "/sbin:/bin"};
  for (std::string dir; std::getline(dirs, dir, ':');)
    if (::access((dir + "/" + name).c_str(), X_OK) == 0)
      return dir + "/" + name;
  return {};
}

/// crun changes its directory, and inventory() compares whole paths.
oci_options absolute(oci_options options) {
  for (auto* path :
       {&options.data_dir, &options.run_dir, &options.agent_binary_dir})
    *path = fs::absolute(*path).lexically_normal();
  return options;
}

class oci_driver : public runtime {
public:
  explicit oci_driver(oci_options options)
      : options_{absolute(std::move(options))},
        names_{options_},
        groups_{options_.cgroup_root},
        watch_{groups_} {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
    crun_ = find_program(options_.crun);
  }

  ~oci_driver() override {
    // Succeeds only when no sandbox is left.
    static_cast<void>(groups_.exists(names_.node_group())
                      && groups_.children(names_.node_group()).empty()
                      && groups_.remove(names_.node_group(), 0ms));
  }

  runtime_capabilities capabilities() const override {
    return {"oci", version_, true, true, false, {network_mode::none}};
  }

  result<void> check() override;
  std::vector<lease> leases(const launch_request& request) const override;
  result<process_ref> start(const launch_request& request) override;
  result<void> recover(const launch_request& request,
                       const process_ref& process) override;
  result<void> kill(const std::string& id) override;
  result<void> destroy(const std::string& id, bool keep_disk) override;
  result<void> tune(const launch_request& request,
                    const process_ref& process) override;
  result<host_stats> stats(const launch_request& request) override;
  result<std::vector<host_resource>> inventory() override;

  agent_address address(const launch_request&,
                        const process_ref& process) const override {
    agent_address out;
    out.init = process;
    return out;
  }

  result<void> pause(const std::string& id) override {
    return groups_.freeze(names_.group(id), true, 5s);
  }
  result<void> resume(const std::string& id) override {
    return groups_.freeze(names_.group(id), false, 5s);
  }
  std::string agent_log(const std::string& id) override {
    return oci::agent_log::tail(names_.dir(id));
  }
  void on_exit(exit_handler handler) override {
    watch_.on_exit(std::move(handler));
  }
  void on_oom(std::function<void(std::string, std::uint64_t)> h) override {
    watch_.on_oom(std::move(h));
  }

private:
  result<process_ref> make(const launch_request& request);
  std::string container_config(const launch_request& request) const;

  oci_options options_;
  names names_;
  cgroup::tree groups_;
  std::string crun_, version_ = "unknown";
  watch watch_; ///< last: its thread ends before what it uses
};

result<void> oci_driver::check() {
  if (::geteuid() != 0)
    return fail(ec::host_setup, "the oci driver needs root",
                "start caged-node as root, for example with sudo");
  if (!is_valid_name(options_.node_id))
    return fail(ec::host_setup, "the node id " + caged::quoted(options_.node_id)
                                    + " is not of [a-z0-9-]");
  crun_ = find_program(options_.crun);
  if (crun_.empty())
    return fail(ec::host_setup, options_.crun + " is missing",
                "install it: apt-get install crun");
  auto said = sys::run({crun_, "--version"}, 10s);
  if (!said || said->status != 0)
    return fail(ec::host_setup, crun_ + " cannot be run");
  std::istringstream words{said->output};
  std::string program, word;
  words >> program >> word >> version_;
  version_ = escape_text(program + " " + version_, 60);
  int major = 0, minor = 0;
  if (program != "crun"
      || std::sscanf(version_.c_str(), "crun %d.%d", &major, &minor) != 2
      || major * 1000 + minor < 1004)
    return fail(ec::host_setup,
                crun_ + " is " + version_ + "; crun 1.4 or newer is needed");
  if (find_program("mkfs.ext4").empty())
    return fail(ec::host_setup, "mkfs.ext4 is missing",
                "install it: apt-get install e2fsprogs");
  if (groups_.kind() == cgroup::layout::none)
    return fail(ec::host_setup,
                "no cgroups are mounted at " + options_.cgroup_root.string());
  if (auto missing = groups_.missing_controllers(); !missing.empty())
    return fail(ec::host_setup,
                "the kernel offers no cgroup controller " + missing.front(),
                "check cgroup_disable= in /proc/cmdline");
  auto systems = sys::read_small("/proc/filesystems").value_or("");
  for (const char* type : {"overlay", "ext4", "tmpfs"})
    if (systems.find(std::string{"\t"} + type + "\n") == std::string::npos) {
      static_cast<void>(sys::run({"modprobe", type}, 10s));
      systems = sys::read_small("/proc/filesystems").value_or("");
      if (systems.find(std::string{"\t"} + type + "\n") == std::string::npos)
        return fail(ec::host_setup,
                    std::string{"the kernel has no "} + type + " file system",
                    std::string{"try: modprobe "} + type);
    }
  if (::access("/proc/self/ns/user", F_OK) != 0)
    return fail(ec::host_setup, "the kernel has no user namespaces");
  if (auto most = sys::read_small("/proc/sys/user/max_user_namespaces");
      most && std::atoi(most->c_str()) == 0)
    return fail(ec::host_setup, "user namespaces are switched off",
                "sysctl user.max_user_namespaces=15000");
  if (::access("/dev/loop-control", F_OK) != 0
      && (static_cast<void>(sys::run({"modprobe", "loop"}, 10s)),
          ::access("/dev/loop-control", F_OK) != 0))
    return fail(ec::host_setup, "there are no loop devices",
                "try: modprobe loop");
  if (::access((options_.agent_binary_dir / "caged-agent").c_str(), X_OK) != 0)
    return fail(ec::host_setup,
                "there is no program caged-agent in "
                    + options_.agent_binary_dir.string(),
                "install the component caged-agent");
  if (scratch_directory({options_.data_dir, options_.run_dir, crun_}).empty())
    return fail(ec::host_setup,
                "none of /mnt, /media, /srv, /opt is free of caged's own "
                "directories",
                "create /mnt");
  return {};
}

std::vector<lease> oci_driver::leases(const launch_request& request) const {
  return {{"cgroup", names_.group(request.id)},
          {"container", request.id},
          {"directory", names_.dir(request.id)},
          {"loop", names_.image(request.id)},
          {"uid_range", std::to_string(names_.uid(request.slot))}};
}

std::string oci_driver::container_config(const launch_request& request) const {
  bundle_options out;
  out.cgroup = names_.group(request.id);
  out.rootfs = "rootfs";
  out.user_namespace =
      scratch_directory({options_.data_dir, options_.run_dir, crun_})
      + "/userns";
  out.uid = names_.uid(request.slot);
  out.limit_swap = groups_.swap_accounting();
  // Neither may go beyond our own without CAP_SYS_RESOURCE.
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  out.files = std::min<std::uint64_t>(files.rlim_max, 65536);
  auto own = sys::read_small("/proc/self/oom_score_adj").value_or("0");
  out.oom_score_adj = std::max(0, std::atoi(own.c_str()));
  out.heartbeat_interval = options_.heartbeat_interval;
  out.metrics_interval = options_.metrics_interval;
  return bundle_config(request, out);
}

result<process_ref> oci_driver::start(const launch_request& request) {
  if (!is_valid_id(request.id))
    return fail(ec::bad_request,
                caged::quoted(request.id) + " is no sandbox id");
  if (request.spec.network != network_mode::none)
    return fail(ec::unsupported,
                "network " + std::string{to_string(request.spec.network)}
                    + " is not there yet",
                "use --network none");
  if (names_.uid(request.slot) > UINT32_MAX - 65536)
    return fail(ec::resource, "no uid range is left for slot "
                                  + std::to_string(request.slot));
  if (auto room = sys::descriptors_left(descriptor_reserve); !room)
    return tl::unexpected<failure>(room.error());
  std::error_code error;
  fs::create_directories(names_.sandboxes(), error);
  if (::mkdir(names_.dir(request.id).c_str(), 0700) < 0) {
    if (errno == EEXIST)
      return fail(ec::conflict, request.id + " has been started already",
                  "destroy it first");
    return sys::fail_host(ec::resource,
                          "cannot create " + names_.dir(request.id).string(),
                          errno);
  }
  auto made = make(request);
  if (!made)
    // What cannot be freed now is found by inventory(); the first cause counts.
    static_cast<void>(destroy(request.id, false));
  return made;
}

result<process_ref> oci_driver::make(const launch_request& request) {
  const auto& id = request.id;
  struct statvfs disk {};
  if (::statvfs(options_.data_dir.c_str(), &disk) == 0)
    if (auto left = std::uint64_t{disk.f_bavail} * disk.f_frsize;
        left < disk_reserve)
      return fail(ec::resource,
                  "the data directory " + options_.data_dir.string() + " has "
                      + format_bytes(static_cast<double>(left))
                      + " left; another sandbox needs "
                      + format_bytes(static_cast<double>(disk_reserve)),
                  sys::remedy(ENOSPC));
  auto base = templates::resolve(options_.data_dir, request.spec.template_name);
  if (!base)
    return tl::unexpected<failure>(base.error());
  auto empty = empty_image(options_.data_dir, request.spec.disk_gb);
  if (!empty)
    return tl::unexpected<failure>(empty.error());
  auto dir = names_.dir(id), image = names_.image(id);
  if (auto copied = copy_sparse(*empty, image); !copied)
    return tl::unexpected<failure>(copied.error());
  auto log = oci::agent_log::open(dir);
  if (!log)
    return tl::unexpected<failure>(log.error());
  std::error_code error;
  fs::create_directories(names_.crun_root(), error);
  auto loop = attach_loop(image);
  if (!loop)
    return tl::unexpected<failure>(loop.error());
  sys::unique_fd err{
      ::open((dir / "agent.stderr").c_str(), O_WRONLY | O_CLOEXEC)};
  if (!err)
    return sys::fail_host(ec::io, "cannot open the log of " + id, errno);

  launch_plan plan;
  plan.scratch =
      scratch_directory({options_.data_dir, options_.run_dir, crun_});
  plan.base = base->string();
  plan.agents = options_.agent_binary_dir;
  plan.device = "/dev/loop" + std::to_string(loop->number);
  plan.config = container_config(request);
  if (groups_.kind() == cgroup::layout::hybrid
      && cgroup::unified_has_controllers(options_.cgroup_root))
    plan.hide = (options_.cgroup_root / "unified").string();
  plan.uid = names_.uid(request.slot);
  plan.stderr_fd = err.get();
  plan.crun = crun_;
  auto pid_file = dir / "pid", crun_log = dir / "crun.log";
  plan.args = {"crun",
               "--root",
               names_.crun_root(),
               "--cgroup-manager",
               "cgroupfs",
               "--log",
               "file:" + crun_log.string(),
               "run",
               "-d",
               "--bundle",
               plan.scratch,
               "--pid-file",
               pid_file,
               id};
  if (auto done = launch(plan, crun_log, options_.start_timeout); !done)
    return tl::unexpected<failure>(done.error());
  process_ref init;
  init.pid = std::atoi(sys::read_small(pid_file).value_or("").c_str());
  // Our child since we are its subreaper: the pid stays until we reap it.
  auto handle = init.pid > 0 ? sys::pidfd_open(init.pid) : sys::unique_fd{};
  init.start_time = sys::start_time_any(init.pid);
  if (!handle || init.start_time == 0)
    return fail(ec::resource, "the init of " + id + " ended at once");
  watch_.add(id, init, std::move(handle), names_.group(id), std::move(*log));
  return init;
}

result<void> oci_driver::recover(const launch_request& request,
                                 const process_ref& process) {
  const auto& id = request.id;
  auto handle = sys::pidfd_open(process.pid);
  auto error = handle ? 0 : errno;
  auto started = sys::start_time(process.pid);
  // Not being able to look is no reason to take it for dead.
  if (error == EMFILE || error == ENFILE || error == ENOMEM
      || (handle && started == 0 && !sys::wait_end(handle.get(), 0ms)))
    return sys::fail_host(ec::resource,
                          "the init of " + id + " cannot be looked at",
                          error != 0 ? error : EMFILE);
  if (!handle || started != process.start_time)
    return fail(ec::agent_lost, "the init of " + id + ", process "
                                    + std::to_string(process.pid)
                                    + ", is gone");
  auto log = oci::agent_log::open(names_.dir(id));
  if (!log)
    return tl::unexpected<failure>(log.error());
  watch_.add(id, process, std::move(handle), names_.group(id), std::move(*log));
  return {};
}

result<void> oci_driver::kill(const std::string& id) {
  if (!is_valid_id(id))
    return fail(ec::bad_request, caged::quoted(id) + " is no sandbox id");
  auto killed = groups_.kill(names_.group(id), options_.kill_timeout);
  if (!killed)
    return tl::unexpected<failure>(killed.error());
  watch_.settle(id, 1s);
  // What a crun that died half-way left behind was reparented to us. These were
  // in our cgroup, so nobody else waits for them; the init is reaped already.
  for (auto pid : *killed)
    ::waitpid(pid, nullptr, WNOHANG);
  return {};
}

result<void> oci_driver::destroy(const std::string& id, bool keep_disk) {
  if (auto done = kill(id); !done)
    return done;
  watch_.remove(id);
  if (auto done = groups_.remove(names_.group(id), 5s); !done)
    return done;
  // crun delete would do no more than this: there are no hooks.
  std::error_code error;
  fs::remove_all(names_.crun_root() / id, error);
  if (error)
    return fail(ec::io, "cannot remove " + (names_.crun_root() / id).string()
                            + ": " + error.message());
  auto image = names_.image(id);
  if (auto done = detach_loops(image, 5s); !done)
    return done;
  if (keep_disk) {
    fs::remove(names_.dir(id) / "agent.stderr", error);
    fs::remove(names_.dir(id) / "pid", error);
    return {};
  }
  fs::remove_all(names_.dir(id), error);
  if (error)
    return fail(ec::io, "cannot remove " + names_.dir(id).string() + ": "
                            + error.message());
  return {};
}

result<void> oci_driver::tune(const launch_request& request,
                              const process_ref& process) {
  const auto& spec = request.spec;
  if (auto set = groups_.limit(names_.group(request.id),
                               {spec.memory_mb << 20U, spec.cpus, spec.pids});
      !set)
    return set;
  return sys::set_host_name(process.pid, host_name(request));
}

result<host_stats> oci_driver::stats(const launch_request& request) {
  auto out = groups_.stats(names_.group(request.id));
  if (!out)
    return fail(ec::not_found, request.id + " has no cgroup");
  struct stat info {};
  if (::stat(names_.image(request.id).c_str(), &info) == 0)
    out->disk_bytes = static_cast<std::uint64_t>(info.st_blocks) * 512;
  out->disk_limit_bytes = request.spec.disk_gb << 30U;
  return out;
}

result<std::vector<host_resource>> oci_driver::inventory() {
  std::vector<host_resource> out;
  for (const auto& id : groups_.children(names_.node_group())) {
    out.push_back({{"cgroup", names_.group(id)}, id});
    auto pids = groups_.processes(names_.group(id));
    for (auto pid : pids)
      out.push_back({{"process", std::to_string(pid)}, id});
    for (auto pid : pids) {
      std::uint64_t inner = 1, outer = 0;
      std::istringstream map{
          sys::read_small("/proc/" + std::to_string(pid) + "/uid_map")
              .value_or("")};
      if (map >> inner >> outer && inner == 0 && outer != 0) {
        out.push_back({{"uid_range", std::to_string(outer)}, id});
        break;
      }
    }
  }
  std::error_code error;
  for (const auto& item : fs::directory_iterator{names_.crun_root(), error}) {
    auto id = item.path().filename().string();
    if (is_valid_id(id)) // crun has files of its own there
      out.push_back({{"container", id}, id});
  }
  for (const auto& item : fs::directory_iterator{names_.sandboxes(), error}) {
    auto id = item.path().filename().string();
    out.push_back({{"directory", item.path().string()}, id});
  }
  for (const auto& loop : loops_beneath(options_.data_dir)) {
    auto dir = fs::path{loop.file}.parent_path();
    out.push_back({{"loop", loop.file},
                   dir.parent_path() == names_.sandboxes()
                       ? dir.filename().string()
                       : std::string{}});
  }
  return out;
}

} // namespace

std::unique_ptr<runtime> make_oci_driver(oci_options options) {
  return std::make_unique<oci_driver>(std::move(options));
}

} // namespace caged
