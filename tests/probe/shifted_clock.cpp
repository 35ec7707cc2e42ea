// Preloaded into a node by tests/integration/clock_test.cpp: its wall clock is
// off by the seconds that stand in the file $CAGED_TEST_CLOCK, now and at every
// look. Other clocks are left alone. A real clock_settime(2) would move the
// date of the whole machine.
#include <cstdlib>
#include <ctime>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

namespace {

/// The file is mapped: one number, written by the test.
long shift() {
  static const volatile long* const seconds = [] {
    const char* file = std::getenv("CAGED_TEST_CLOCK");
    int fd = file ? ::open(file, O_RDONLY | O_CLOEXEC) : -1;
    void* there =
        fd < 0 ? MAP_FAILED
               : ::mmap(nullptr, sizeof(long), PROT_READ, MAP_SHARED, fd, 0);
    if (fd >= 0)
      ::close(fd);
    return there == MAP_FAILED ? nullptr : static_cast<const long*>(there);
  }();
  return seconds ? *seconds : 0;
}

} // namespace

extern "C" {

int clock_gettime(clockid_t which, timespec* out) noexcept {
  auto done = static_cast<int>(::syscall(SYS_clock_gettime, which, out));
  if (done == 0 && (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE))
    out->tv_sec += shift();
  return done;
}

int gettimeofday(timeval* out, void*) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  out->tv_sec = now.tv_sec;
  out->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t* out) noexcept {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  if (out)
    *out = now.tv_sec;
  return now.tv_sec;
}
}
