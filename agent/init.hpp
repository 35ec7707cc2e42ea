#pragma once

namespace caged::agent {

/// What PID 1 does before everything else: nobody may trace it, and what a VM
/// lacks (proc, sys, dev, pts, tmp) is mounted. In a container all of that is
/// there.
void prepare_init();

/// Ends the machine when PID 1 is one; in a container (the runtime sets
/// `container` in its environment) it just returns.
void power_off_if_machine();

} // namespace caged::agent
