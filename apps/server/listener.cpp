#include "server/listener.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <system_error>
#include <thread>

#include "resflow/core/error.h"
#include "server/http_error.h"

namespace resflow::server {
namespace {

using namespace std::chrono_literals;

constexpr auto kIdle = 15s;
constexpr int kBacklog = 512;  // the library asks for 5, and the sixth client of a burst would wait a second for its SYN to be sent again

thread_local bool no_room = false;  // this thread turns a connection away

class ConnectionThreads final : public httplib::TaskQueue {
 public:
  explicit ConnectionThreads(int64_t most) : most_(most) {}

  void enqueue(std::function<void()> serve) override {
    {
      const std::lock_guard lock(mutex_);
      if (active_ < most_) {
        try {
          std::thread([this, serve] {
            serve();
            const std::lock_guard lock(mutex_);
            --active_;
            ended_.notify_all();
          }).detach();
          ++active_;
          return;
        } catch (const std::system_error&) {  // the machine has no more threads
        }
      }
    }
    no_room = true;
    serve();
    no_room = false;
  }

  void shutdown() override {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [&] { return active_ == 0; });
  }

 private:
  const int64_t most_;
  std::mutex mutex_;
  std::condition_variable ended_;
  int64_t active_ = 0;
};

void turn_away(socket_t socket) {
  const std::string body = error_json("unavailable", "too many connections", "Try again in a moment").dump();
  const std::string reply = fmt::format(
      "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
      body.size(), body);
  ::send(socket, reply.data(), reply.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  ::shutdown(socket, SHUT_WR);
}

}  // namespace

Listener::Listener(int64_t max_connections) {
  new_task_queue = [max_connections] { return new ConnectionThreads(max_connections); };
  set_tcp_nodelay(true);
  set_keep_alive_timeout(kIdle.count());  // what clients are told
  set_keep_alive_max_count(1000);
  set_socket_options([](socket_t socket) {  // not SO_REUSEPORT, the library's own choice: a second server would take half of the requests
    const int yes = 1;
    ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  });
}

int Listener::bind(const std::string& host, int port) {
  const int bound = port == 0 ? bind_to_any_port(host) : bind_to_port(host, port) ? port : -1;
  if (bound <= 0)
    throw_user_error({.where = host + ":" + std::to_string(port),
                      .problem = "cannot listen there",
                      .got = std::strerror(errno),
                      .hint = "Is another program using the port? Choose another --port, or 0 for any"});
  ::listen(svr_sock_, kBacklog);
  return bound;
}

void Listener::serve() { listen_after_bind(); }

void Listener::stop_serving() {
  stopping_ = true;
  stop();
}

bool Listener::process_and_close_socket(socket_t socket) {
  if (no_room) {
    turn_away(socket);
    ::close(socket);
    return false;
  }
  Connection connection(socket, stopping_);
  connection.make_current(true);
  bool clean = true;
  while (clean && connection.wait_for_request(kIdle)) {
    bool closed = false;
    clean = process_request(connection, /*close_connection=*/stopping_, closed, nullptr);
    if (!clean || closed || stopping_) break;
    if (!connection.at_request_end()) {
      connection.drain();
      break;
    }
  }
  connection.make_current(false);
  ::shutdown(socket, SHUT_RDWR);
  ::close(socket);
  return clean;
}

}  // namespace resflow::server
