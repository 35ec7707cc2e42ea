#include "actors/entrypoint.hpp"

#include <memory>
#include <utility>
#include <variant>

#include "actors/permissions.hpp"
#include "messages/text.hpp"

namespace caged {

using namespace std::chrono_literals;

namespace {

/// How long an actor may take to answer where the client set no deadline.
constexpr auto patience =
    std::chrono::milliseconds(limits::request_deadline_default);

/// A destroy may wait behind other driver calls.
constexpr auto destroy_patience = std::chrono::minutes(2);

/// Between the answer to a shutdown and the end: a DEALER socket drops what it
/// has not read when its peer closes (libzmq, pipe_t::process_pipe_term).
constexpr auto farewell = 250ms;

/// After which a sandbox that is being written down is looked for again.
constexpr auto commit_time = 20ms;

constexpr std::size_t log_chunk_size = limits::frame_max;

template <class... Ts>
struct overloaded : Ts... {
  using Ts::operator()...;
};
template <class... Ts>
overloaded(Ts...) -> overloaded<Ts...>;

} // namespace

void entrypoint_state::answer(const api::request& request,
                              api::reply_body body) {
  context->clients->send({request.route, request.id, std::move(body)});
}

void entrypoint_state::refuse(const api::request& request, failure why,
                              const std::string& sandbox) {
  context->metrics->error(why.code);
  answer(request, api::error_reply{std::move(why), sandbox, context->node});
}

void entrypoint_state::refuse(const api::request& request,
                              const caf::error& why,
                              const std::string& sandbox) {
  refuse(request, to_failure(why), sandbox);
}

void entrypoint_state::start() {
  started_ = true;
  for (const auto& each : std::exchange(early_, {}))
    handle(each);
}

void entrypoint_state::handle(const request_ptr& request) {
  // The socket is there before the node knows its sandboxes: a client that
  // comes back at once must not hear that there is no such sandbox.
  if (!started_) {
    early_.push_back(request);
    return;
  }
  context->metrics->message(api::verb_of(request->body));
  if (std::holds_alternative<api::client_gone>(request->body)
      && request->hop != 0)
    return client_gone(request->route);
  if (auto no = refusal_of(*request)) {
    context->refused("role", request->caller, request->from);
    return refuse(*request, std::move(*no));
  }
  std::visit(
      overloaded{
          [&](const api::hello&) {
            answer(*request,
                   api::hello_reply{api::protocol_version, context->version,
                                    context->node, request->caller});
          },
          [&](const api::up&) {
            if (has_peers() && request->hop == 0) {
              if (!repeats_gone(request))
                place(request);
              return;
            }
            up(request);
          },
          [&](const api::template_read& what) { give_template(request, what); },
          [&](const api::list&) {
            if (has_peers() && request->hop == 0)
              return list_all(request);
            self->request(node, patience, atom::list::value, request)
                .then(
                    [this, request](api::list_reply& got) {
                      answer(*request, std::move(got));
                    },
                    [this, request](caf::error& e) { refuse(*request, e); });
          },
          [&](const api::get& what) { get(request, what); },
          [&](const api::exec& what) {
            exec(request, what.sandbox, what.resume);
          },
          [&](const api::dial& what) {
            exec(request, what.sandbox, what.resume);
          },
          [&](const api::pause& what) { pause(request, what.sandbox, true); },
          [&](const api::resume& what) { pause(request, what.sandbox, false); },
          [&](const api::ps& what) { ps(request, what); },
          [&](const api::kill& what) { kill(request, what); },
          [&](const api::events& what) { events(request, what); },
          [&](const api::destroy& what) { destroy(request, what); },
          [&](const api::logs& what) { logs(request, what); },
          [&](const api::why& what) { why(request, what); },
          [&](const api::node_status&) {
            self->request(node, patience, atom::status::value)
                .then(
                    [this, request](api::node_status_reply& got) {
                      answer(*request, std::move(got));
                    },
                    [this, request](caf::error& e) { refuse(*request, e); });
          },
          [&](const api::node_audit& what) {
            self->request(node, what.fix ? destroy_patience : patience,
                          atom::audit::value, what.fix)
                .then(
                    [this, request](api::audit_reply& got) {
                      answer(*request, std::move(got));
                    },
                    [this, request](caf::error& e) { refuse(*request, e); });
          },
          [&](const api::node_shutdown& what) {
            self->request(node, destroy_patience,
                          stop_request{what.destroy_all, request->caller})
                .then(
                    [this, request](api::shutdown_reply& got) {
                      answer(*request, got);
                      self->delayed_send(self, farewell, atom::run::value);
                    },
                    [this, request](caf::error& e) { refuse(*request, e); });
          },
          [&](const api::token_create& what) { create_token(request, what); },
          [&](const api::token_list&) { list_tokens(*request); },
          [&](const api::token_revoke& what) { revoke_token(request, what); },
          [&](const api::key_authorize& what) { authorize_key(request, what); },
          [&](const api::key_revoke& what) { revoke_key(request, what); },
          [&](const api::key_list&) { list_keys(*request); },
          [&](const api::node_list&) { list_nodes(*request); },
          [&](const api::node_get& what) { get_node(*request, what); },
          [&](const api::node_cordon& what) { cordon_node(request, what); },
          [&](const api::node_remove& what) { remove_node(request, what); },
          [&](const api::node_token_create& what) {
            create_node_token(request, what);
          },
          [&](const api::join& what) { join(request, what); },
          // The rest belongs to a running exec.
          [&](const auto&) { stream(request); },
      },
      request->body);
}

/// An exec, an attachment or a dial: a stream named by the request id.
void entrypoint_state::exec(const request_ptr& request,
                            const std::string& sandbox, bool resumes) {
  with_sandbox(request, sandbox, false,
               [this, request, resumes](const found_sandbox& found) {
                 if (!found.handle)
                   return refuse(*request,
                                 {ec::unavailable,
                                  found.id + " is still being made",
                                  "try again in a moment"},
                                 found.id);
                 streams_[{request->route, request->id}] = found.handle;
                 self->send(found.handle,
                            exec_call{request,
                                      {},
                                      caf::actor_cast<stream_table_actor>(self),
                                      resumes,
                                      {}});
               });
}

/// data, ack, credit, eof, signal and resize. Those of an exec that is over
/// cross its exit on the way and are dropped: the client has been told.
void entrypoint_state::stream(const request_ptr& request) {
  if (auto it = streams_.find({request->route, request->id});
      it != streams_.end())
    self->send(it->second, request);
  else if (auto hop = hops_.find({request->route, request->id});
           hop != hops_.end())
    stream_on(hop->second, *request);
}

void entrypoint_state::events(const request_ptr& request,
                              const api::events& what) {
  if (!has_peers() || request->hop != 0)
    return self->send(node, atom::changed::value, request);
  if (what.sandbox.empty())
    return events_of_all(request);
  with_sandbox(request, what.sandbox, true,
               [this, request](const found_sandbox&) {
                 self->send(node, atom::changed::value, request);
               });
}

void entrypoint_state::ended(const std::string& route, const std::string& id) {
  streams_.erase({route, id});
}

void entrypoint_state::client_gone(const std::string& route) {
  self->send(node, atom::gone::value, route); // it may follow events
  auto first = streams_.lower_bound({route, {}});
  std::map<caf::actor_addr, sandbox_actor> told;
  while (first != streams_.end() && first->first.first == route) {
    told.emplace(first->second.address(), first->second);
    first = streams_.erase(first);
  }
  for (auto& [_, to] : told)
    self->send(to, atom::gone::value, route);
  end_calls_of(route);
}

void entrypoint_state::get(const request_ptr& request, const api::get& what) {
  with_sandbox(request, what.sandbox, true,
               [this, request](found_sandbox& found) {
                 auto info = std::make_shared<sandbox_info>(found.info);
                 info->spec.env.clear();
                 info->spec.init_script.clear();
                 if (!found.handle) {
                   api::get_reply only;
                   only.sandbox = *info;
                   return answer(*request, std::move(only));
                 }
                 self->request(found.handle, patience, atom::get::value)
                     .then(
                         [this, request, info](api::get_reply& got) {
                           auto beat = got.sandbox.last_heartbeat_ms;
                           got.sandbox = *info;
                           got.sandbox.last_heartbeat_ms = beat;
                           answer(*request, std::move(got));
                         },
                         [this, request, info](caf::error& e) {
                           refuse(*request, e, info->id);
                         });
               });
}

void entrypoint_state::destroy(const request_ptr& request,
                               const api::destroy& what) {
  with_sandbox(request, what.sandbox, true,
               [this, request](found_sandbox& found) {
                 auto id = found.id;
                 if (!found.handle) {
                   if (found.info.state == phase::destroyed)
                     return answer(*request, api::destroy_reply{id, false});
                   // Its first commit is under way.
                   return self->delayed_send(self, commit_time, request);
                 }
                 self->request(found.handle, destroy_patience,
                               atom::destroy::value, request->caller)
                     .then(
                         [this, request, id](bool) {
                           answer(*request, api::destroy_reply{id, true});
                         },
                         [this, request, id](caf::error& e) {
                           // CAF's own: another destroy was a moment faster,
                           // and its actor has ended. Look again.
                           if (e.category() != caf::atom("caged")
                               && to_failure(e).code == ec::unavailable)
                             self->delayed_send(self, commit_time, request);
                           else
                             refuse(*request, e, id);
                         });
               });
}

void entrypoint_state::pause(const request_ptr& request,
                             const std::string& sandbox, bool freeze) {
  with_sandbox(
      request, sandbox, false, [this, request, freeze](found_sandbox& found) {
        if (!found.handle)
          return refuse(*request,
                        {ec::unavailable, found.id + " is still being made",
                         "try again in a moment"},
                        found.id);
        auto info = found.info;
        info.spec.env.clear();
        info.spec.init_script.clear();
        auto done = [this, request, info, freeze](bool changed) mutable {
          info.state = freeze ? phase::paused : phase::running;
          answer(*request, api::state_reply{std::move(info), changed});
        };
        auto failed = [this, request, id = found.id](caf::error& e) {
          refuse(*request, e, id);
        };
        if (freeze)
          self->request(found.handle, patience, atom::pause::value,
                        request->caller)
              .then(done, failed);
        else
          self->request(found.handle, patience, atom::resume::value,
                        request->caller)
              .then(done, failed);
      });
}

void entrypoint_state::ps(const request_ptr& request, const api::ps& what) {
  with_sandbox(
      request, what.sandbox, false, [this, request](found_sandbox& found) {
        if (!found.handle)
          return answer(*request, api::ps_reply{found.id, {}});
        self->request(found.handle, patience, atom::list::value)
            .then([this, request](
                      api::ps_reply& got) { answer(*request, std::move(got)); },
                  [this, request, id = found.id](caf::error& e) {
                    refuse(*request, e, id);
                  });
      });
}

void entrypoint_state::kill(const request_ptr& request, const api::kill& what) {
  with_sandbox(
      request, what.sandbox, false,
      [this, request, exec = what.exec,
       signal = what.signal](found_sandbox& found) {
        if (!found.handle)
          return refuse(*request,
                        {ec::unavailable, found.id + " is still being made",
                         "try again in a moment"},
                        found.id);
        self->request(found.handle, patience, atom::kill::value, exec, signal)
            .then(
                [this, request](std::string& id) {
                  answer(*request, api::kill_reply{std::move(id)});
                },
                [this, request, id = found.id](caf::error& e) {
                  refuse(*request, e, id);
                });
      });
}

void entrypoint_state::why(const request_ptr& request, const api::why& what) {
  with_sandbox(
      request, what.sandbox, true, [this, request](found_sandbox& found) {
        auto id = found.id;
        offload(
            self, context->records,
            [journal = context->journal, id] { return journal->causes(id); },
            [this, request, id](result<std::vector<cause>> got) {
              if (got)
                answer(*request, api::why_reply{id, std::move(*got)});
              else
                refuse(*request, got.error(), id);
            });
      });
}

void entrypoint_state::logs(const request_ptr& request, const api::logs& what) {
  with_sandbox(
      request, what.sandbox, false,
      [this, request, source = what.source](found_sandbox& found) {
        auto id = found.id;
        if (source != "init" && source != "agent")
          return refuse(*request,
                        {ec::bad_request,
                         "there is no log " + caged::quoted(source),
                         "the logs are init and agent; caged attach replays a "
                         "detached exec"},
                        id);
        offload(
            self, context->records,
            [driver = context->driver, kept = context->logs, id,
             source]() -> result<std::string> {
              return source == "agent"
                         ? result<std::string>{driver->agent_log(id)}
                         : kept->read(id, source);
            },
            [this, request, id](result<std::string> got) {
              if (!got)
                return refuse(*request, got.error(), id);
              std::string_view rest{*got};
              while (rest.size() > log_chunk_size) {
                answer(*request,
                       api::log_chunk{
                           std::string{rest.substr(0, log_chunk_size)}, false});
                rest.remove_prefix(log_chunk_size);
              }
              answer(*request, api::log_chunk{std::string{rest}, true});
            });
      });
}

entrypoint_actor::behavior_type entrypoint(entrypoint_state::pointer self,
                                           context_ptr context,
                                           supervisor_actor node) {
  self->state.context = std::move(context);
  self->state.node = std::move(node);
  return {
      [self](const request_ptr& request) { self->state.handle(request); },
      [self](atom::gone, const std::string& route) {
        self->state.client_gone(route);
      },
      [self](atom::ended, const std::string& route, const std::string& id) {
        self->state.ended(route, id);
      },
      [self](peer_answer& what) { self->state.answered(what); },
      [self](const peer_lost& what) { self->state.link_lost(what); },
      [self](atom::ready, const std::string& id) {
        self->state.node_found(id);
      },
      [self](atom::recheck, const std::string& template_name) {
        self->state.fetch_on(template_name);
      },
      [self](atom::expire, std::uint64_t hop) { self->state.call_due(hop); },
      [self](atom::start) { self->state.start(); },
      [self](atom::run) { self->state.context->request_stop(); },
      [self](atom::stop) { self->quit(); },
  };
}

} // namespace caged
