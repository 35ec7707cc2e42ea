#include "nodes/spec_json.hpp"

#include <nlohmann/json.hpp>

namespace caged {

using nlohmann::json;

std::string spec_to_json(const sandbox_spec& spec) {
  return json{{"name", spec.name},
              {"template", spec.template_name},
              {"runtime", spec.runtime},
              {"cpus", spec.cpus},
              {"memory_mb", spec.memory_mb},
              {"disk_gb", spec.disk_gb},
              {"pids", spec.pids},
              {"network", std::string{to_string(spec.network)}},
              {"env", spec.env},
              {"labels", spec.labels},
              {"workdir", spec.workdir},
              {"init_script", spec.init_script},
              {"idle_timeout_ms", spec.idle_timeout.count()},
              {"ttl_ms", spec.ttl.count()}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

result<sandbox_spec> spec_from_json(std::string_view text) {
  auto in = json::parse(text, nullptr, false);
  if (!in.is_object())
    return fail(ec::malformed, "a sandbox's specification in the journal is no "
                               "JSON object");
  sandbox_spec out;
  try {
    out.name = in.value("name", out.name);
    out.template_name = in.value("template", out.template_name);
    out.runtime = in.value("runtime", out.runtime);
    out.cpus = in.value("cpus", out.cpus);
    out.memory_mb = in.value("memory_mb", out.memory_mb);
    out.disk_gb = in.value("disk_gb", out.disk_gb);
    out.pids = in.value("pids", out.pids);
    out.network = network_mode_from_string(in.value("network", "none"))
                      .value_or(network_mode::none);
    out.env = in.value("env", out.env);
    out.labels = in.value("labels", out.labels);
    out.workdir = in.value("workdir", out.workdir);
    out.init_script = in.value("init_script", out.init_script);
    out.idle_timeout = std::chrono::milliseconds(
        in.value("idle_timeout_ms", out.idle_timeout.count()));
    out.ttl = std::chrono::milliseconds(in.value("ttl_ms", out.ttl.count()));
  } catch (const json::exception& e) {
    return fail(ec::malformed,
                std::string{"a sandbox's specification in the journal has a "
                            "member of the wrong type: "}
                    + e.what());
  }
  return out;
}

} // namespace caged
