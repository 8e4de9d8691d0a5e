// One thread for reading and writing beside the computing: its work runs in the order it was given.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

namespace resflow {

class IoThread {
 public:
  IoThread();
  // Waits for the work at hand; what has not begun is dropped.
  ~IoThread();
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;

  // What `work` throws comes out of the future.
  template <class Work>
  auto run(Work work) {
    using Result = decltype(work());
    auto task = std::make_shared<std::packaged_task<Result()>>(std::move(work));
    auto future = task->get_future();
    add([task] { (*task)(); });
    return future;
  }

 private:
  void add(std::function<void()> work);
  void loop();

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::function<void()>> waiting_;
  bool ending_ = false;
  std::thread thread_;
};

}  // namespace resflow
