#include "mcp/tools/terminal.hpp"

#include <cstdlib>

#include "mcp/command.hpp"
#include "mcp/process_table.hpp"
#include "mcp/tools/families.hpp"

namespace caged::mcp {

namespace {

json object(json properties, json required) {
  return {{"type", "object"},
          {"properties", std::move(properties)},
          {"required", std::move(required)},
          {"additionalProperties", false}};
}

json of_type(const char* type, std::string description) {
  return {{"type", type}, {"description", std::move(description)}};
}

json output_schema() {
  auto number_or_null = [](const char* text) {
    return json{{"type", {"integer", "null"}}, {"description", text}};
  };
  return object(
      {{"id", of_type("string", "Of the background command.")},
       {"output", of_type("string", "stdout and stderr, as they came.")},
       {"offset", of_type("integer", "Of the first byte of output.")},
       {"next_offset", of_type("integer", "since for the next call.")},
       {"left_out", of_type("integer", "Bytes before offset that were asked "
                                       "for and are no longer kept, or are "
                                       "too many.")},
       {"total", of_type("integer", "Bytes written so far.")},
       {"running", of_type("boolean", "Whether the command still runs.")},
       {"exit_code", number_or_null("null: it runs, or a signal ended it.")},
       {"signal",
        {{"type", {"string", "null"}},
         {"description", "Signal that ended it."}}},
       {"timed_out", of_type("boolean", "Ended by its timeout.")},
       {"processes_left", of_type("boolean", "It ended, but processes that it "
                                             "started still run.")},
       {"duration_ms", of_type("integer", "Of its run so far.")}},
      {"id", "output", "next_offset", "running", "exit_code", "signal"});
}

std::string exec_description(const terminal& of) {
  const auto most = std::to_string(of.settings.limits.exec_most.count());
  std::string out = "Runs a command in the workspace and returns its output. ";
  if (of.allowed)
    out += "Only these programs may be run: " + of.allowed->names()
           + ". There is no shell: no pipes, redirections, variables, "
             "wildcards or several commands in one call; quotes work. ";
  else
    out += "A string is run by /bin/sh -c; an array is run directly, without "
           "a shell. Each call starts anew: cd and variables do not last, use "
           "cwd and env. ";
  return out
         + "A command that fails is no error of the tool: look at the exit "
           "code. stdin is empty unless given, there is no terminal: pass "
           "flags that keep programs from asking. It ends after timeout "
           "seconds (30 unless given, at most "
         + most
         + ") with everything it started. For servers and long jobs set "
           "background: the call returns an id at once, for terminal_output "
           "and terminal_kill. Long output is cut in the middle.";
}

} // namespace

terminal::terminal(const workspace& where, const server_config& config)
    : files{where}, settings{config} {
  if (!config.allowed_commands)
    return;
  // As commands get it: with a default where the server has none.
  const auto env = clean_environment(environ);
  allowed.emplace(*config.allowed_commands, variable(env, "PATH"),
                  where.root());
}

json exec_input_schema(const terminal& of) {
  const auto most = of.settings.limits.exec_most.count();
  json command = {
      {"anyOf",
       {{{"type", "string"}},
        {{"type", "array"}, {"items", {{"type", "string"}}}, {"minItems", 1}}}},
      {"description", of.allowed
                          ? "Program and arguments, as one string with "
                            "quotes, or as an array."
                          : "A command line for /bin/sh, or an array of "
                            "program and arguments that is run directly."}};
  json properties = {
      {"command", std::move(command)},
      {"timeout",
       {{"type", "number"},
        {"minimum", 0.1},
        {"maximum", most},
        {"description", "Seconds after which the command and everything it "
                        "started is ended. Default 30; none for background."}}},
      {"cwd", of_type("string", "Folder to run in, beneath the workspace. "
                                "Default: the workspace.")},
      {"stdin", of_type("string", "What the command reads from stdin. Default: "
                                  "nothing.")},
      {"background",
       of_type("boolean",
               "Return an id at once and let it run. It ends with the "
               "session at the latest.")}};
  if (!of.allowed)
    properties["env"] = {{"type", "object"},
                         {"additionalProperties", {{"type", "string"}}},
                         {"description",
                          "Environment variables to add. The server's own are "
                          "passed only where they hold no secrets."}};
  return object(std::move(properties), {"command"});
}

json exec_output_schema() {
  return object(
      {{"exit_code",
        {{"type", {"integer", "null"}},
         {"description", "null: a signal ended it, or it runs in the "
                         "background."}}},
       {"signal",
        {{"type", {"string", "null"}},
         {"description", "Signal that ended it, such as SIGKILL."}}},
       {"stdout", of_type("string", "What it wrote to stdout.")},
       {"stderr", of_type("string", "What it wrote to stderr.")},
       {"stdout_left_out", of_type("integer", "Bytes cut from its middle.")},
       {"stderr_left_out", of_type("integer", "Bytes cut from its middle.")},
       {"timed_out", of_type("boolean", "Ended by the timeout.")},
       {"processes_left", of_type("boolean", "It ended, but processes that it "
                                             "started still run.")},
       {"duration_ms", of_type("number", "How long it ran.")},
       {"id", of_type("string", "For terminal_output and terminal_kill; only "
                                "with background.")}},
      {"exit_code", "signal", "stdout", "stderr", "timed_out"});
}

void add_terminal_tools(tool_set& tools, const workspace& where,
                        const server_config& config) {
  const auto shared = std::make_shared<const terminal>(where, config);
  tool exec;
  exec.name = "terminal_exec";
  exec.title = "Run a command";
  exec.description = exec_description(*shared);
  exec.input_schema = [shared] { return exec_input_schema(*shared); };
  exec.output_schema = exec_output_schema;
  exec.annotations = {false, true, false, true};
  exec.writes = true;
  exec.run = [shared](const arguments& args, call& by) {
    return terminal_exec(*shared, args, by);
  };

  tool output;
  output.name = "terminal_output";
  output.title = "Output of a background command";
  output.description =
      "Returns what a background command (terminal_exec with background) has "
      "written, stdout and stderr together, and whether it still runs. With "
      "since (next_offset of the last answer) only what is new; with wait it "
      "waits that many seconds for something new or the end.";
  output.input_schema = [&config] {
    return object(
        {{"id", of_type("string", "As terminal_exec gave it, such as bg-1.")},
         {"since",
          {{"type", "integer"},
           {"minimum", 0},
           {"description", "Offset in bytes from which on output is wanted. "
                           "Default: all that is kept."}}},
         {"wait",
          {{"type", "number"},
           {"minimum", 0},
           {"maximum", config.limits.exec_most.count()},
           {"description", "Seconds to wait for new output. Default 0."}}}},
        {"id"});
  };
  output.output_schema = output_schema;
  output.annotations = {true, false, true, false};
  // Without commands there is nothing to read: absent where they are.
  output.writes = true;
  output.run = [shared](const arguments& args, call& by) {
    return terminal_output(*shared, args, by);
  };

  tool kill;
  kill.name = "terminal_kill";
  kill.title = "End a background command";
  kill.description =
      "Ends a background command with everything it started: SIGTERM, and "
      "SIGKILL half a second later. With signal only that signal is sent, for "
      "example INT or HUP.";
  kill.input_schema = [] {
    return object(
        {{"id", of_type("string", "As terminal_exec gave it, such as bg-1.")},
         {"signal", of_type("string", "Name or number of a signal to send "
                                      "instead of ending it.")}},
        {"id"});
  };
  kill.output_schema = output_schema;
  kill.annotations = {false, true, false, false};
  kill.writes = true;
  kill.run = [shared](const arguments& args, call& by) {
    return terminal_kill(*shared, args, by);
  };

  tools.add(std::move(exec));
  tools.add(std::move(output));
  tools.add(std::move(kill));
}

} // namespace caged::mcp
