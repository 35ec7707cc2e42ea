#include "nodes/fake/fake_driver.hpp"

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <map>
#include <mutex>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "messages/text.hpp"
#include "nodes/cgroup/cgroup.hpp"
#include "nodes/oci/sys.hpp"
#include "nodes/oci/watch.hpp"

namespace caged {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

namespace {

/// Children, children's children, ... of a process that lives.
std::vector<pid_t> descendants(pid_t root) {
  std::vector<pid_t> found{root};
  for (std::size_t i = 0; i < found.size(); ++i) {
    std::error_code ignored;
    fs::path tasks = "/proc/" + std::to_string(found[i]) + "/task";
    for (const auto& task : fs::directory_iterator{tasks, ignored}) {
      std::istringstream list{
          sys::read_small(task.path() / "children").value_or("")};
      for (pid_t child = 0; list >> child;)
        found.push_back(child);
    }
  }
  return found;
}

class fake_driver : public runtime {
public:
  explicit fake_driver(fake_options options)
      : options_{std::move(options)}, watch_{groups_} {
    ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  }

  runtime_capabilities capabilities() const override {
    return {"fake", "1", false, true, false, {network_mode::none}};
  }

  result<void> check() override {
    if (::access(options_.agent.c_str(), X_OK) != 0)
      return fail(ec::host_setup,
                  "there is no program " + options_.agent.string());
    return {};
  }

  std::vector<lease> leases(const launch_request& request) const override {
    return {{"directory", work(request.id)}, {"socket", run(request.id)}};
  }

  result<process_ref> start(const launch_request& request) override;

  result<void> recover(const launch_request& request,
                       const process_ref& process) override {
    auto handle = sys::pidfd_open(process.pid);
    if (!handle || sys::start_time(process.pid) != process.start_time)
      return fail(ec::agent_lost, "the agent of " + request.id + " is gone");
    return take(request.id, process, std::move(handle));
  }

  agent_address address(const launch_request& request,
                        const process_ref& process) const override {
    return {run(request.id) / "agent.sock", process, false};
  }

  result<void> kill(const std::string& id) override;
  result<void> destroy(const std::string& id, bool keep_disk) override;

  result<void> pause(const std::string& id) override {
    return signal_all(id, SIGSTOP);
  }
  result<void> resume(const std::string& id) override {
    return signal_all(id, SIGCONT);
  }

  /// It has no limits and no host name of its own.
  result<void> tune(const launch_request&, const process_ref&) override {
    return {};
  }

  result<host_stats> stats(const launch_request& request) override {
    std::error_code error;
    if (!fs::exists(run(request.id), error))
      return fail(ec::not_found, "there is no sandbox " + request.id);
    return host_stats{}; // there is no group that could be read
  }

  std::string agent_log(const std::string& id) override {
    return oci::agent_log::tail(work(id));
  }

  result<std::vector<host_resource>> inventory() override {
    std::vector<host_resource> out;
    std::error_code ignored;
    for (const auto& item :
         fs::directory_iterator{options_.data_dir / "fake", ignored})
      out.push_back({{"directory", item.path()}, item.path().filename()});
    for (const auto& item :
         fs::directory_iterator{options_.run_dir / "fake", ignored})
      out.push_back({{"socket", item.path()}, item.path().filename()});
    return out;
  }

  void on_exit(exit_handler handler) override {
    watch_.on_exit(std::move(handler));
  }

private:
  fs::path work(const std::string& id) const {
    return options_.data_dir / "fake" / id;
  }
  fs::path run(const std::string& id) const {
    return options_.run_dir / "fake" / id;
  }

  /// From the file beside the socket, so that it works from the id alone.
  process_ref process(const std::string& id) const {
    process_ref out;
    std::istringstream text{sys::read_small(run(id) / "process").value_or("")};
    text >> out.pid >> out.start_time;
    if (out.pid > 0 && sys::start_time(out.pid) != out.start_time)
      out = {};
    return out;
  }

  result<void> take(const std::string& id, const process_ref& init,
                    sys::unique_fd handle) {
    auto log = oci::agent_log::open(work(id));
    if (!log)
      return tl::unexpected<failure>(log.error());
    watch_.add(id, init, std::move(handle), {}, std::move(*log));
    return {};
  }

  result<void> signal_all(const std::string& id, int signal) {
    auto init = process(id);
    if (init.pid == 0)
      return fail(ec::not_found, "there is no sandbox " + id);
    for (auto pid : descendants(init.pid))
      ::kill(pid, signal);
    return {};
  }

  fake_options options_;
  cgroup::tree groups_;
  oci::watch watch_;
};

result<process_ref> fake_driver::start(const launch_request& request) {
  const auto& id = request.id;
  std::this_thread::sleep_for(options_.faults.start_delay); // scripted
  if (options_.faults.start_error)
    return tl::unexpected<failure>(*options_.faults.start_error);
  std::error_code error;
  fs::create_directories(work(id) / "workspace", error);
  fs::create_directories(run(id), error);
  if (error)
    return fail(ec::resource, "cannot create the directories of " + id + ": "
                                  + error.message());
  auto log = oci::agent_log::open(work(id));
  if (!log)
    return tl::unexpected<failure>(log.error());
  auto stderr_path = (work(id) / "agent.stderr").string();
  std::vector<std::string> args{options_.agent, "--socket",
                                run(id) / "agent.sock", "--workspace",
                                work(id) / "workspace"};
  if (options_.faults.die_after > 0ms)
    // timeout(1) stands between: the agent's death is its death.
    args.insert(
        args.begin(),
        {"timeout", "--foreground", "-s", "KILL",
         std::to_string(static_cast<double>(options_.faults.die_after.count())
                        / 1000)});
  std::vector<char*> argv;
  argv.reserve(args.size() + 1);
  for (auto& arg : args)
    argv.push_back(arg.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDWR, 0);
  ::posix_spawn_file_actions_adddup2(&actions, 0, 1);
  ::posix_spawn_file_actions_addopen(&actions, 2, stderr_path.c_str(), O_WRONLY,
                                     0);
  ::posix_spawnattr_init(&attributes);
  ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID);
  pid_t pid = -1;
  auto failed = ::posix_spawnp(&pid, argv[0], &actions, &attributes,
                               argv.data(), environ);
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attributes);
  if (failed != 0) {
    static_cast<void>(destroy(id, false));
    return fail_errno(ec::host_setup, "cannot run " + args[0], failed);
  }
  process_ref init{pid, sys::start_time_any(pid)};
  auto handle = sys::pidfd_open(pid);
  auto noted = sys::write_file(
      run(id) / "process",
      std::to_string(pid) + " " + std::to_string(init.start_time) + "\n", 0600);
  if (!noted || !handle) {
    ::kill(pid, SIGKILL);
    ::waitpid(pid, nullptr, 0);
    static_cast<void>(destroy(id, false));
    return fail(ec::resource, "cannot keep track of the agent of " + id);
  }
  watch_.add(id, init, std::move(handle), {}, std::move(*log));
  return init;
}

result<void> fake_driver::kill(const std::string& id) {
  auto init = process(id);
  if (init.pid == 0)
    return {};
  auto handle = sys::pidfd_open(init.pid);
  // Stopped first, so that the list does not grow while it is read.
  auto all = descendants(init.pid);
  for (auto pid : all)
    ::kill(pid, SIGSTOP);
  for (auto pid : descendants(init.pid))
    ::kill(pid, SIGKILL);
  if (handle && !sys::wait_end(handle.get(), 5s))
    return fail(ec::timeout, "the agent of " + id + " outlived SIGKILL");
  watch_.settle(id, 1s);
  // Its children were reparented to us. Those still dying are reaped next time.
  for (auto pid : all)
    if (pid != init.pid)
      sys::wait_until(1s,
                      [&] { return ::waitpid(pid, nullptr, WNOHANG) != 0; });
  return {};
}

result<void> fake_driver::destroy(const std::string& id, bool keep_disk) {
  if (!is_valid_id(id))
    return fail(ec::bad_request, caged::quoted(id) + " is no sandbox id");
  if (auto done = kill(id); !done)
    return done;
  watch_.remove(id);
  std::error_code error;
  fs::remove_all(run(id), error);
  if (!keep_disk)
    fs::remove_all(work(id), error);
  return {};
}

} // namespace

std::unique_ptr<runtime> make_fake_driver(fake_options options) {
  return std::make_unique<fake_driver>(std::move(options));
}

} // namespace caged
