// One client's socket, as the HTTP library reads and writes it. It keeps clients from holding a thread for ever: a request's head has
// seconds and kilobytes, its body and the reply must flow at some pace, and a body ends at the limit whatever its header said.
#pragma once

#include <httplib.h>

#include <array>
#include <atomic>
#include <chrono>
#include <string>

namespace resflow::server {

class Connection final : public httplib::Stream {
 public:
  Connection(socket_t socket, const std::atomic<bool>& stopping) : socket_(socket), stopping_(stopping) {}

  // The one that this thread serves; nullptr elsewhere.
  static Connection* current();
  void make_current(bool on);

  // Waits for the first byte of another request. false: none came in time, it hung up, or the server stops.
  bool wait_for_request(std::chrono::seconds most);
  // The head is read: a body of at most `most` bytes may follow; `announced`: by Content-Length, -1 = not (none, or chunked).
  void begin_body(int64_t most, int64_t announced, bool chunked);
  void body_is_read() { body_read_ = true; }
  bool over_limit() const { return over_limit_; }
  bool timed_out() const { return timed_out_; }
  // Whether the next request can follow on this connection.
  bool at_request_end() const;
  // Lets a client that still sends read the reply: what it sends is thrown away for a moment.
  void drain();
  // The client has gone.
  bool hung_up() const;
  bool stopping() const { return stopping_; }

  std::string route = "other";  // of the request at hand, for the metrics

  bool is_readable() const override;
  bool is_writable() const override;
  ssize_t read(char* to, size_t size) override;
  ssize_t write(const char* from, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return socket_; }

 private:
  using Clock = std::chrono::steady_clock;
  Clock::time_point read_deadline() const;

  socket_t socket_;
  const std::atomic<bool>& stopping_;
  std::array<char, 16384> buffer_{};
  size_t buffered_ = 0, taken_ = 0;
  Clock::time_point phase_begun_ = Clock::now();
  int64_t phase_bytes_ = 0, phase_most_ = 0, announced_ = -1, sent_ = 0;
  double write_waited_ = 0;
  bool in_body_ = false, chunked_ = false, body_read_ = false, over_limit_ = false, timed_out_ = false;
};

}  // namespace resflow::server
