#include "agent/init.hpp"

#include <cerrno>
#include <cstdlib>

#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <unistd.h>

#include "agent/log.hpp"

namespace caged::agent {

namespace {

bool in_container() {
  return std::getenv("container") != nullptr;
}

void mount_if_missing(const char* type, const char* where, const char* probe,
                      unsigned long flags, const char* options) {
  if (::access(probe, F_OK) == 0)
    return;
  ::mkdir(where, 0755);
  if (::mount(type, where, type, flags, options) != 0 && errno != EBUSY)
    log::warn("cannot mount", {{"where", where}, {"errno", errno}});
}

} // namespace

void prepare_init() {
  // Not even root inside can then attach to it or read its memory; see
  // ptrace(2), "Ptrace access mode checking".
  ::prctl(PR_SET_DUMPABLE, 0);
  if (in_container())
    return;
  constexpr unsigned long safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;
  mount_if_missing("proc", "/proc", "/proc/self", safe, nullptr);
  mount_if_missing("sysfs", "/sys", "/sys/class", safe, nullptr);
  mount_if_missing("devtmpfs", "/dev", "/dev/null", MS_NOSUID, nullptr);
  mount_if_missing("devpts", "/dev/pts", "/dev/pts/ptmx", MS_NOSUID | MS_NOEXEC,
                   "ptmxmode=0666,mode=0620,gid=5");
  mount_if_missing("tmpfs", "/run", "/run/lock", MS_NOSUID | MS_NODEV,
                   "mode=0755");
}

void power_off_if_machine() {
  if (in_container())
    return;
  ::sync();
  ::reboot(RB_POWER_OFF);
}

} // namespace caged::agent
